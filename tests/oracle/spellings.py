#!/usr/bin/env python3
"""What every spelling of a number means: SPEC.md section 2, written a second time.

The service normalises with a Rust port of libphonenumber. This script does it with the Python
port (`pip install phonenumbers==9.0.42`) and writes what it found to tests/golden:

    spellings.tsv     region, canonical, dialled, text   the example numbers of the world, each written in many ways
    china.tsv         text, canonical, dialled           chosen by hand, region CN; the expectations are in this file
    fuzz_numbers.tsv  region, text, canonical, dialled   seeded random texts

Each field is a JSON string. `canonical` is "+<digits>" for an E.164 number, the text that is left for
a verbatim one, or "invalid_number", for which `dialled` is "". A verbatim text may look like "+123";
what tells it from an E.164 number is that it is dialled as itself.

Run from anywhere, without arguments; it writes the same bytes every time.
"""

import json
import random
import unicodedata
from pathlib import Path

import phonenumbers
from phonenumbers import PhoneNumberFormat, PhoneNumberType, ValidationResult

assert phonenumbers.__version__ == "9.0.42", phonenumbers.__version__

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
HEADER = f"# written by tests/oracle/spellings.py with phonenumbers {phonenumbers.__version__}"

INVALID = "invalid_number"
TEXT_BYTES_MAX = 128
E164_DIGITS_MAX = 15
TRUNK_ZERO_REGIONS = {"CN"}


# --- Normalisation -------------------------------------------------------------------------------


def chars(ranges):
    """The characters of a list such as "0020 2010-2015", in hex."""
    found = set()
    for item in ranges.split():
        first, _, last = item.partition("-")
        found.update(map(chr, range(int(first, 16), int(last or first, 16) + 1)))
    return found


# Unicode's White_Space. Not str.isspace(), which takes U+001C to U+001F too.
WHITE_SPACE = chars("0009-000D 0020 0085 00A0 1680 2000-200A 2028 2029 202F 205F 3000")
MARKS = chars("200E 200F 202A-202E 2066-2069 FEFF")
STRIPPED = "".join(WHITE_SPACE | MARKS)

PLUS = set("+\uff0b")
OPENING = set("([\uff08\uff3b")
PUNCTUATION = set(" -./()[]") | chars(
    "00A0 00AD 200B 2010-2015 2060 2212 3000 30FC FF08 FF09 FF0D-FF0F FF3B FF3D"
)
BEFORE_ZEROS = OPENING | (PUNCTUATION & WHITE_SPACE)


def is_digit(char):
    return unicodedata.category(char) == "Nd"


def is_number_text(text):
    return all(is_digit(char) or char in PLUS or char in PUNCTUATION for char in text)


def number_text(text):
    """The part of `text` that is to be parsed, or None if all of it is verbatim."""
    if text[:4].lower() == "tel:":
        text = text[4:]
    return text if is_number_text(text) else None


def with_plus(text):
    """`text` with its leading 00 written as a plus sign, or None if it has none."""
    start = next((at for at, char in enumerate(text) if char not in BEFORE_ZEROS), len(text))
    zeros = text[start : start + 2]
    if len(zeros) < 2 or not all(is_digit(char) and unicodedata.decimal(char) == 0 for char in zeros):
        return None
    return text[:start] + "+" + text[start + 2 :]


def parse(text, region):
    """Country code and national number as digits, or None. What libphonenumber makes of the text."""
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return None
    if number.extension:
        return None
    if phonenumbers.is_possible_number_with_reason(number) != ValidationResult.IS_POSSIBLE:
        return None
    digits = f"{number.country_code}{phonenumbers.national_significant_number(number)}"
    return digits if len(digits) <= E164_DIGITS_MAX else None


def candidate(text, region):
    international = with_plus(text)
    if international is not None:
        digits = parse(international, region)
        if digits is not None:
            return digits
    return parse(text, region)


def e164(text, region):
    """The number as digits, or None: the candidate, or what that is read as, once it reads as itself."""
    digits = candidate(text, region)
    for _ in range(2):
        if digits is None:
            return None
        again = candidate(f"+{digits}", region)
        if again == digits:
            return digits
        digits = again
    return None


def normalise(text, region):
    """(canonical, dialled), as the columns have them."""
    text = text.strip(STRIPPED)
    if not text or len(text.encode()) > TEXT_BYTES_MAX:
        return INVALID, ""
    if any(unicodedata.category(char) == "Cc" for char in text):
        return INVALID, ""
    parsed = number_text(text)
    digits = None if parsed is None else e164(parsed, region)
    return (text, text) if digits is None else (f"+{digits}", dialled(digits, region))


def dialled(digits, region):
    """What UIDToPhone gives for an E.164 number."""
    number = phonenumbers.parse(f"+{digits}")
    if phonenumbers.region_code_for_country_code(number.country_code) in TRUNK_ZERO_REGIONS:
        national = phonenumbers.format_number(number, PhoneNumberFormat.NATIONAL)
        as_written = f"00{number.country_code}{phonenumbers.normalize_digits_only(national)}"
        if e164(as_written, region) == digits:
            return as_written
    return f"00{digits}"


def mapped(text, region):
    """`normalise`, having seen that what is dialled comes back as the same number."""
    canonical, dialled_text = normalise(text, region)
    if canonical != INVALID:
        again = normalise(dialled_text, region)
        assert again == (canonical, dialled_text), (text, region, canonical, dialled_text, again)
    return canonical, dialled_text


def is_e164(canonical, dialled_text):
    return canonical != INVALID and canonical != dialled_text


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


def spelling_rows():
    skipped = []
    for region, number in example_numbers():
        texts = list(dict.fromkeys(spellings(number)))
        expected = mapped(texts[0], region)
        if not is_e164(*expected):
            skipped.append(f"+{international_digits(number)} ({region})")
            continue
        kept = [text for text in texts if mapped(text, region) == expected]
        assert len(kept) >= SPELLINGS_MIN, (region, expected, kept)
        for text in kept:
            yield region, *expected, text
    print(f"spellings.tsv: {len(skipped)} example number(s) skipped, not E.164 by the rule:", *skipped)


# --- china.tsv: chosen by hand ---------------------------------------------------------------------

# (canonical, dialled): texts, under the region CN.
CHINA_E164 = {
    ("+8613988888888", "008613988888888"): [
        "13988888888",
        "139 8888 8888",
        "139-8888-8888",
        "+86 139-8888-8888",
        "+8613988888888",
        "8613988888888",
        "008613988888888",
        "0086 139 8888 8888",
        "00 86 13988888888",
        "(+86)13988888888",
        "(86) 139 8888 8888",
        "(0086) 139-8888-8888",
        "[0086]13988888888",
        "( [00 86] 139 8888 8888",
        "\uff08\uff10\uff10\uff18\uff16\uff0913988888888",
        "\uff0b\uff18\uff16\u3000\uff11\uff13\uff19\uff18\uff18\uff18\uff18\uff18\uff18\uff18\uff18",
        "\u0660\u0660\u0668\u0666\u0661\u0663\u0669\u0668\u0668\u0668\u0668\u0668\u0668\u0668\u0668",
        "\u06600\uff18\u096c 139 8888 8888",  # zeros, and digits, of different scripts
        "139\u200b8888\u200b8888",
        "139\u30fc8888\u30fc8888",
        "139\u20128888\u22128888",
        "\u200b13988888888",
        "-13988888888",
        "13988888888-",
        "13988888888" + 117 * "-",  # 128 bytes
        "\u202d+86 139 8888 8888\u202c",
        "\u200e \ufeff\u206613988888888\u2069\u00a0",
        "  13988888888\t",
        "13988888888\n",
        "\u000b\u0085\u202813988888888\u3000\r\n",
        # Trunk zeros that nobody dials.
        "013988888888",
        "+86 013988888888",
        "0086013988888888",
        # Several prefixes one after the other; libphonenumber takes a plus sign before 00 for a slip.
        "++86 13988888888",
        "+0086 13988888888",
        "+(0086) 13988888888",
        "00 00 86 13988888888",
        "0000 86 13988888888",
        "0 0 86 13988888888",
        # IP-dial prefixes.
        "17951 13988888888",
        "1795113988888888",
        "17909 13988888888",
        "17911-139-8888-8888",
        "12593 13988888888",
        "1259313988888888",
        "86 17951 13988888888",
        "+86 17951 13988888888",
        "0086 12593 13988888888",
        "tel:+86-139-8888-8888",
        "tel:13988888888",
        "TEL:0086 139 8888 8888",
        "Tel: (0086) 139 8888 8888",
        " tEl:\uff0b86 13988888888 ",
    ],
    ("+8675586013388", "0086075586013388"): [
        "0755-86013388",
        "075586013388",
        "0755 8601 3388",
        "(0755)86013388",
        "(0755) 8601-3388",
        "\uff080755\uff0986013388",
        "755 86013388",
        "75586013388",
        "86 755 86013388",
        "86 0755 86013388",
        "86075586013388",
        "+86 755 86013388",
        "+86 0755 86013388",
        "+86 (0)755 8601 3388",
        "0086-0755-86013388",
        "0086075586013388",
        "008675586013388",
        "(0086)(0755)86013388",
        "tel:+86-755-8601-3388",
        # Read in two steps: the carrier's prefix first, the trunk zero after it.
        "17951 0755 86013388",
        "17911075586013388",
        "12593 075586013388",
    ],
    ("+861062345678", "008601062345678"): [
        "010-62345678",
        "01062345678",
        "10 62345678",
        "+86 10 6234 5678",
        "86 010 62345678",
    ],
    ("+861012345678", "008601012345678"): ["010-12345678", "01012345678", "10 12345678", "1012345678"],
    ("+862161234567", "008602161234567"): [
        "021-61234567",
        "02161234567",
        "21 61234567",
        "0086 021 61234567",
        "+86 (0)21 6123 4567",
    ],
    ("+8645182345678", "0086045182345678"): [
        "0451-82345678",
        "045182345678",
        "451 82345678",
        "008645182345678",
        "86 0451 82345678",
    ],
    ("+869318234567", "008609318234567"): [
        "0931-8234567",
        "09318234567",
        "931 8234567",
        "0086 931 8234567",
        "(0931)8234567",
    ],
    # Seven digits where the plan of today has eight: possible, but NATIONAL puts no trunk zero.
    ("+864518234567", "00864518234567"): ["0451-8234567", "+86 451 8234567"],
    ("+864008306868", "00864008306868"): [
        "400-830-6868",
        "4008306868",
        "+86 400 830 6868",
        "00864008306868",
        "86 400 830 6868",
    ],
    ("+868008101234", "00868008101234"): ["800-810-1234", "8008101234", "00868008101234", "+86 8008101234"],
    ("+16502530000", "0016502530000"): [
        "+1 650 253 0000",
        "001 650 253 0000",
        "0016502530000",
        "tel:+1-650-253-0000",
        "+1 (650) 253-0000",
    ],
    ("+390669812345", "00390669812345"): [
        "+39 06 69812345",
        "0039 06 69812345",
        "00390669812345",
        "(+39) 06-698-12345",
    ],
    ("+85221234567", "0085221234567"): ["+852 2123 4567", "00852 2123 4567", "0085221234567"],
    ("+886223456789", "00886223456789"): [
        "00886 2 2345 6789",
        "+886 2 2345 6789",
        "00886 02 23456789",
        "+886 (02) 2345-6789",
    ],
    ("+85328123456", "0085328123456"): ["+853 2812 3456", "00853-28123456"],
    ("+80012345678", "0080012345678"): ["+800 1234 5678", "00800 1234 5678"],
    # A mobile without its 86 is what it says behind a plus sign or 00.
    ("+13988888888", "0013988888888"): ["+13988888888", "0013988888888"],
    # libphonenumber knows lengths only here: all of these are "possible". Wrong lengths of mobiles:
    ("+861398888888", "00861398888888"): ["1398888888", "+86 139 888 8888"],
    ("+86139888888881", "0086139888888881"): ["139888888881", "0086139888888881"],
    # local numbers without their area:
    ("+8686013388", "008686013388"): ["86013388", "8601 3388", "+86 86013388"],
    ("+868234567", "00868234567"): ["8234567"],
    # service and SMS codes with more digits:
    ("+8695588123", "008695588123"): ["95588123"],
    ("+86955881234", "0086955881234"): ["955881234"],
    ("+869558812345", "008609558812345"): ["9558812345"],  # 955 is an area's code too
    ("+8610690123", "008610690123"): ["1069 0123"],
    ("+86106912345678", "0086106912345678"): ["106912345678"],
    # and short extensions behind a hyphen:
    ("+8610623456781", "008610623456781"): ["010-62345678-1"],
    ("+86451823456712", "0086451823456712"): ["0451-8234567-12"],
    # 125831 marks China Mobile's second numbers. libphonenumber knows IP-dial prefixes of five
    # digits, takes 12583 for one, and in the second step 11398 for another.
    ("+868888888", "00868888888"): ["125831 13988888888", "12583113988888888", "113988888888"],
}

# Texts that stay as they are.
CHINA_VERBATIM = [
    # Extensions, and numbers with one.
    "8001",
    "80012",
    "tel:8001",
    "0755-86013388 ext 8001",
    "0755-86013388-8001",
    "0755-86013388,8001",
    "0755-86013388 x8001",
    "86013388#8001",
    "tel:13988888888;ext=5",
    "tel:8001;phone-context=+86755",
    # Hotlines, with or without a country code: too short, or possible only within an area.
    "95588",
    "96633",
    "10086",
    "10010",
    "12345",
    "12306",
    "110",
    "119",
    "+86 10086",
    "0086 95588",
    "0010086",
    "17951",
    "12593",
    # Too long.
    "1069012345678",
    "10690123456789",
    "1398888888812",
    "86 86 13988888888",
    "9613988888888",
    # Callers that withhold their number.
    "anonymous",
    "Anonymous",
    "Unknown",
    "unavailable",
    "private",
    "Restricted",
    "-",
    "+",
    "()",
    "0",
    "00",
    "000000",
    "tel:",
    # Not numbers, or not only numbers.
    "sip:alice@example.com",
    "sip:13988888888@example.com",
    "callto:13988888888",
    "tel:anonymous",
    "tel:tel:13988888888",
    "tel:\u200e13988888888",
    "1-800-FLOWERS",
    "13988888888 Li Lei",
    "\u7535\u8bdd13988888888",
    "\u4e00\u4e09\u4e5d88888888",
    "139~88888888",
    "139\uff5e88888888",
    "139x88888888",
    "139_8888_8888",
    "139,88888888",
    "*67 13988888888",
    "13988888888#",
    "13988888888/13788888888",
    "1398888888\u00b2",  # a superscript is no decimal digit
    "\uff54\uff45\uff4c:13988888888",
    # White space and marks that only the ends may have.
    "139\u20098888\u20098888",
    "139\u20288888\u20288888",
    "139\u200e88888888",
    "\u200b",
    # Plus signs and zeros where none belongs.
    "+86+13988888888",
    "+86 86 13988888888",
    "086 13988888888",
    "000755 86013388",
    "+0755 86013388",
    "00013988888888",
    "0011 86 13988888888",
    128 * "a",
    42 * "\u6d4b",
]

# Texts of which the ends are stripped, but which are no numbers.
CHINA_STRIPPED = {
    " anonymous\r\n": "anonymous",
    "\u202a8001\u202c": "8001",
    "\ufeff10086\u3000": "10086",
    "\u2066 sip:alice@example.com \u2069": "sip:alice@example.com",
    " - ": "-",
    "tel: \n": "tel:",
    f"\u200f {128 * 'a'}\n": 128 * "a",
}

CHINA_INVALID = [
    "",
    " ",
    "\t\r\n",
    "\u3000\u00a0",
    "\u200e\u202a \ufeff\u2069",
    "139\n88888888",
    "139\t8888\t8888",
    "139\u00858888\u00858888",
    "13988888888\u0000",
    "\u001f13988888888",  # a control character, but not white space
    "13988888888\u007f",
    "line one\nline two",
    "anonymous\u0000",
    129 * "a",
    43 * "\u6d4b",  # 43 characters, 129 bytes
    "13988888888" + 118 * "-",
]


def china_expected():
    for expected, texts in CHINA_E164.items():
        yield from ((text, *expected) for text in texts)
    yield from ((text, text, text) for text in CHINA_VERBATIM)
    yield from ((text, left, left) for text, left in CHINA_STRIPPED.items())
    yield from ((text, INVALID, "") for text in CHINA_INVALID)


def china_rows():
    disagreements = 0
    for text, *expected in china_expected():
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
    "AT FI BY CO CR IL MN ZA"
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


def fuzz_base(rng, number):
    if rng.random() < 0.04:
        return "".join(rng.choices("0123456789", k=rng.randint(1, 18)))
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
    seen = set()
    while len(seen) < FUZZ_ROWS:
        home, number = rng.choice(examples if rng.random() < 0.8 else everywhere)
        region = home if home in FUZZ_REGIONS and rng.random() < 0.7 else rng.choice(FUZZ_REGIONS)
        text = fuzz_base(rng, number)
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
