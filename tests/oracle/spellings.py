#!/usr/bin/env python3
"""What every spelling of a number means, for the tests of the service.

reading.py reads the texts, by docs/specification.md, section 2, on the Python port of libphonenumber (`pip install
phonenumbers==9.0.42`). This script writes what it found to tests/golden:

    spellings.tsv     region, canonical, dialled, text   the example numbers of the world, each written in many ways
    china.tsv         text, canonical, dialled           chosen by hand, region CN; the expectations are in china.py
    fuzz_numbers.tsv  region, text, canonical, dialled   seeded random texts

Each field is a JSON string. `canonical` is "+<digits>" for an E.164 number, the digits of a hotline, the text
that is left for a verbatim one, or "invalid_number", for which `dialled` is "". What tells the kinds apart is
`dialled`: a verbatim text is dialled as itself, a hotline as 00, the region's code and its digits.

Run from anywhere, without arguments; it writes the same bytes every time.
"""

import json
import random
import re
from pathlib import Path

import phonenumbers
from phonenumbers import PhoneNumberFormat, PhoneNumberType, shortnumberinfo
from phonenumbers.phonemetadata import PhoneMetadata

import china
from reading import INVALID, MARKS, PUNCTUATION, dialled, is_digit, is_short_number, read

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
HEADER = f"# written by tests/oracle/spellings.py with phonenumbers {phonenumbers.__version__}"


def mapped(text, region):
    """(canonical, dialled), as the columns have them, having seen that what is dialled comes back as the same number."""
    number = read(text, region)
    if number == INVALID:
        return INVALID, ""
    given = dialled(number, region)
    assert read(given, region) == number, (text, region, number, given, read(given, region))
    kind, canonical = number
    return f"+{canonical}" if kind == "e164" else canonical, given


# --- spellings.tsv: the example numbers of the world -----------------------------------------------

SPELLINGS_MIN = 12
REGION_OF_NON_GEO = "CN"


def example_numbers():
    """(region, number), each once, in an order that does not change."""
    types = sorted(PhoneNumberType.values())
    examples = {}
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        for number_type in types:
            number = phonenumbers.example_number_for_type(region, number_type)
            if number is not None:
                examples.setdefault((region, international_digits(number)), number)
    for code in sorted(phonenumbers.COUNTRY_CODES_FOR_NON_GEO_REGIONS):
        number = phonenumbers.example_number_for_non_geo_entity(code)
        if number is not None:
            examples.setdefault((REGION_OF_NON_GEO, international_digits(number)), number)
    return [(region, number) for (region, _), number in examples.items()]


def example_hotlines():
    """(region, digits) of the example short numbers, of every kind that a region has."""
    for region in sorted(shortnumberinfo.SUPPORTED_SHORT_REGIONS):
        metadata = PhoneMetadata.short_metadata_for_region(region)
        kinds = [metadata.short_code, metadata.toll_free, metadata.standard_rate, metadata.premium_rate]
        kinds += [metadata.emergency, metadata.carrier_specific, metadata.sms_services]
        examples = [kind.example_number for kind in kinds if kind is not None and kind.example_number]
        # Some examples are of a kind, but no valid short numbers.
        yield from ((region, digits) for digits in dict.fromkeys(examples) if is_short_number(digits, region))


def international_digits(number):
    return f"{number.country_code}{phonenumbers.national_significant_number(number)}"


def in_script(text, zero, plus="+"):
    """`text` with its ASCII digits in the script whose zero is given."""
    return "".join(
        chr(ord(zero) + int(char)) if char in "0123456789" else plus if char == "+" else char
        for char in text
    )


def spellings(number):
    """Ways to write a number; those in the national form need not mean the same everywhere."""
    code = str(number.country_code)
    nsn = phonenumbers.national_significant_number(number)
    head, tail = nsn[:3], nsn[3:]
    plain = f"+{code}{nsn}"
    international = phonenumbers.format_number(number, PhoneNumberFormat.INTERNATIONAL)
    zeros = international.replace("+", "00", 1)
    rfc3966 = phonenumbers.format_number(number, PhoneNumberFormat.RFC3966)
    national = phonenumbers.format_number(number, PhoneNumberFormat.NATIONAL)
    national_digits = phonenumbers.normalize_digits_only(national)
    return [
        f"+{code} {nsn}",
        plain,
        f"00{code}{nsn}",
        f"00 {code} {head} {tail}",
        international,
        zeros,
        rfc3966,
        rfc3966.replace("tel:", "TEL:"),
        f"Tel: 00{code}-{head}-{tail}",
        # Scripts.
        in_script(plain, "\uff10", plus="\uff0b"),
        in_script(f"00{code}{nsn}", "\u0660"),
        in_script(f"+{code} {nsn}", "\u0966"),
        # Spaces, dashes and what else is written between digits.
        international.replace(" ", "\u00a0"),
        f"\uff0b{code}\u3000{head}\u3000{tail}",
        f"+{code}\u2011{head}\u2011{tail}",
        f"00{code} {head}\u2013{tail}",
        f"+{code}.{head}.{tail}",
        f"00{code}/{head}/{tail}",
        f"+{code}\u00ad{head}\u00ad{tail}",
        f"+{code} {head}\u2060{tail}",
        # Brackets.
        f"(+{code}) {nsn}",
        f"(00 {code}) {nsn}",
        f"[00{code}]{nsn}",
        f"\uff0800{code}\uff09{nsn}",
        f"+{code} ({head}) {tail}",
        # At the ends.
        f"\u202a{plain}\u202c",
        f"\u200e00{code}{nsn}\ufeff",
        f" \t\u202d {international} \u202c\r\n",
        # The national form: as it is dialled in the region, and behind the country code.
        national,
        national_digits,
        nsn,
        f"{code}{nsn}",
        f"00{code}{national_digits}",
        f"+{code} (0){nsn}",
    ]


def hotline_spellings(code, digits):
    """Ways to write a hotline, at home and with the region's code."""
    head, tail = digits[:2], digits[2:]
    spaced = f"{head} {tail}".strip()
    return [
        digits,
        spaced,
        f"{head}-{tail}" if tail else f"({head})",
        f"+{code}{digits}",
        f"+{code} {spaced}",
        f"+{code}-{digits}",
        f"00{code}{digits}",
        f"00{code} {digits}",
        f"00 {code}-{spaced}",
        f"(+{code}) {digits}",
        f"(00{code}){digits}",
        f"[00 {code}] {spaced}",
        f"tel:{digits}",
        f"Tel:+{code}-{digits}",
        f"tel:00{code}{digits}",
        in_script(digits, "\uff10"),
        in_script(f"+{code}{digits}", "\uff10", plus="\uff0b"),
        in_script(f"00{code}{digits}", "\u0660"),
        f"\u202d{digits}\u202c",
        f" \ufeff00{code}{digits}\r\n",
        f"+{code}\u00a0{head}\u2011{tail}" if tail else f"+{code}\u00a0{head}",
        f"({digits})",
    ]


def hotline_rows():
    for region, digits in example_hotlines():
        code = phonenumbers.country_code_for_region(region)
        expected = digits, f"00{code}{digits}"
        kept = [text for text in dict.fromkeys(hotline_spellings(code, digits)) if mapped(text, region) == expected]
        assert len(kept) >= SPELLINGS_MIN, (region, digits, kept)
        for text in kept:
            yield region, *expected, text


def spelling_rows():
    skipped = []
    for region, number in example_numbers():
        texts = list(dict.fromkeys(spellings(number)))
        expected = mapped(texts[0], region)
        if expected[0] == expected[1]:
            skipped.append(f"+{international_digits(number)} ({region})")
            continue
        kept = [text for text in texts if mapped(text, region) == expected]
        assert len(kept) >= SPELLINGS_MIN, (region, expected, kept)
        for text in kept:
            yield region, *expected, text
    print(f"spellings.tsv: {len(skipped)} example number(s) skipped, not E.164 by the rule:", *skipped)
    yield from hotline_rows()


# --- china.tsv: chosen by hand ---------------------------------------------------------------------


def china_rows():
    disagreements = 0
    for text, *expected in china.expected():
        found = list(mapped(text, "CN"))
        if found != expected:
            disagreements += 1
            print(f"china.tsv: {text!r}: expected {expected}, found {found}")
        yield text, *expected
    assert not disagreements


# --- fuzz_numbers.tsv: seeded random texts -------------------------------------------------------------

FUZZ_SEED = 9042
FUZZ_ROWS = 20_000
FUZZ_REGIONS = (
    "CN US IT DE AR MX BR RU KZ JP GB FR HU LT SM SG HK MO TW KR IN ID AU NZ CI GA UY "
    "AT FI BY CO CR IL MN ZA HR LB ES UZ"
).split()
# Written out, not looked up, so that no other version of Unicode changes the table. The second line
# lies outside the BMP, and not every zero there is the first of sixteen.
FUZZ_ZEROS = (
    "\uff10\u0660\u06f0\u0966\u09e6\u0e50\u1040\u17e0"
    "\U000104a0\U00011066\U0001d7ce\U0001d7d8\U0001e950"
)
FUZZ_PREFIXES = [
    *["0", "00", "+", "86", "17951", "1", "0086", "+86", "12593", "tel:"],
    *["00 ", "0 ", "(00", "+0", "\uff0b"],
    *["8", "9", "06", "15", "011", "810"],
]
FUZZ_PUNCTUATION = sorted(PUNCTUATION) + list("    ---..//()()")
FUZZ_MARKS = sorted(MARKS) + list(" \t\n\u3000")


def fuzz_base(rng, number, hotline):
    if rng.random() < 0.04:
        return "".join(rng.choices("0123456789", k=rng.randint(1, 18)))
    if rng.random() < 0.1:
        code = number.country_code
        return rng.choice([hotline, hotline, f"+{code}{hotline}", f"00{code}{hotline}", f"{code}{hotline}"])
    nsn = phonenumbers.national_significant_number(number)
    national = phonenumbers.format_number(number, PhoneNumberFormat.NATIONAL)
    return rng.choice(
        [
            nsn,
            f"{number.country_code}{nsn}",
            f"+{number.country_code}{nsn}",
            f"00{number.country_code}{nsn}",
            national,
            phonenumbers.normalize_digits_only(national),
            phonenumbers.format_number(number, PhoneNumberFormat.INTERNATIONAL),
        ]
    )


MUTATIONS = [
    *["digit", "digit", "drop", "add", "prefix", "prefix"],
    *["punctuation", "punctuation", "script", "one digit's script"],
    *["second digit", "second digit", "end"],
]


def fuzz_mutated(rng, text):
    match rng.choice(MUTATIONS):
        case "digit":
            return replaced(rng, text, rng.choice("0123456789"))
        case "drop":
            return replaced(rng, text, "")
        case "add":
            return inserted(rng, text, rng.choice("0123456789"))
        case "prefix":
            return rng.choice(FUZZ_PREFIXES) + text
        case "punctuation":
            for _ in range(rng.randint(1, 3)):
                text = inserted(rng, text, rng.choice(FUZZ_PUNCTUATION))
            return text
        case "second digit":
            # Ranges that nobody has yet differ from those in use early on.
            return re.sub(r"([1-9])[0-9]", rf"\g<1>{rng.choice('0123456789')}", text, count=1)
        case "end":
            return text + rng.choice([".0", ".0", "\uff0e\uff10", ".00", "0", ".", "-1", "-12", "/801", "+", ")"])
        case "script":
            # Not always: escaped, such a text is long, and a verbatim one is in the table three times.
            return in_script(text, rng.choice(FUZZ_ZEROS)) if rng.random() < 0.5 else text
        case "one digit's script":
            at = rng.randrange(len(text) + 1)
            return text[:at] + in_script(text[at : at + 1], rng.choice(FUZZ_ZEROS)) + text[at + 1 :]


def replaced(rng, text, by):
    """One of the digits of `text` replaced."""
    places = [at for at, char in enumerate(text) if is_digit(char)]
    if not places:
        return text
    at = rng.choice(places)
    return text[:at] + by + text[at + 1 :]


def inserted(rng, text, char):
    at = rng.randint(0, len(text))
    return text[:at] + char + text[at:]


def fuzz_rows():
    rng = random.Random(FUZZ_SEED)
    examples = [(region, number) for region, number in example_numbers() if region in FUZZ_REGIONS]
    everywhere = example_numbers()
    hotlines = {}
    for region, digits in example_hotlines():
        hotlines.setdefault(region, []).append(digits)
    seen = set()
    while len(seen) < FUZZ_ROWS:
        home, number = rng.choice(examples if rng.random() < 0.8 else everywhere)
        region = home if home in FUZZ_REGIONS and rng.random() < 0.7 else rng.choice(FUZZ_REGIONS)
        text = fuzz_base(rng, number, rng.choice(hotlines[region]))
        for _ in range(rng.choice([0, 1, 1, 2, 2, 3, 4])):
            text = fuzz_mutated(rng, text)
        if rng.random() < 0.02:
            text = rng.choice(FUZZ_MARKS) + text + rng.choice(FUZZ_MARKS)
        if rng.random() < 0.01:
            text = inserted(rng, text, rng.choice("x~#*;,a_\u2009\u200e\t"))
        if (region, text) not in seen:
            seen.add((region, text))
            yield region, text, *mapped(text, region)


# --- The tables --------------------------------------------------------------------------------------


def write_table(name, columns, rows):
    lines = ["\t".join(map(json.dumps, row)) for row in rows]
    content = "\n".join([f"{HEADER}; columns: {', '.join(columns)}", *lines]) + "\n"
    path = GOLDEN / name
    path.write_bytes(content.encode("ascii"))
    print(f"{name}: {len(lines)} rows, {len(content)} bytes")


def main():
    GOLDEN.mkdir(exist_ok=True)
    write_table("spellings.tsv", ["region", "canonical", "dialled", "text"], spelling_rows())
    write_table("china.tsv", ["text", "canonical", "dialled"], china_rows())
    write_table("fuzz_numbers.tsv", ["region", "text", "canonical", "dialled"], fuzz_rows())


if __name__ == "__main__":
    main()
