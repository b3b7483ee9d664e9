#!/usr/bin/env python3
"""Does what UIDToPhone gives ring the number that the text meant? libphonenumber is the judge.

    property.py generate REGION COUNT [--seed N]    random texts of 3 to 16 digits with punctuation, one a line
    property.py check REGION < texts-and-dialled    lines of `text TAB what UIDToPhone gave`; exit 1 if any is wrong
    property.py oracle COUNT [--seed N] [--regions REGION...] the same for reading.py itself; COUNT texts for each region

For the service, with a key ring whose region is REGION:

    property.py generate CN 100000 > texts
    callveil tokenize < texts | callveil detokenize | paste texts - | property.py check CN

What was given must, by libphonenumber's own reading, dial the same valid number as the text; or be the text
as it stands; or its digits, with `00` for what stood before them, or `00` and the region's code before a
hotline or a number like a mobile. The judge knows no rules of the service but those.
"""

import argparse
import collections
import functools
import random
import sys

import phonenumbers
from phonenumbers import PhoneNumberType, shortnumberinfo

REGIONS = "CN HK US GB DE IT IN BR FR".split()
DIGITS_MIN, DIGITS_MAX = 3, 16
SHOWN_MAX = 20

OPENING = "([\uff08\uff3b \u00a0\u3000"
PUNCTUATION = list(" -./()[]") + list("  ---.()") + list("\u00a0\u00ad\u200b\u2011\u2013\u2060\u2212\u3000\uff08\uff09\uff0d\uff0e\uff0f")


# --- Random texts ----------------------------------------------------------------------------------


def prefixes(region):
    """What numbers begin with, so that more than one in a thousand is somebody's."""
    code = str(phonenumbers.country_code_for_region(region))
    mobile = national(phonenumbers.example_number_for_type(region, PhoneNumberType.MOBILE))
    lines = [national(phonenumbers.example_number_for_type(region, PhoneNumberType.FIXED_LINE))]
    abroad = ["00", "+", "00852", "+1", "0049", "+39", "0086", "+86", "00886"]
    home = ["", "0", "1", code, f"00{code}", f"+{code}", f"+{code}0", f"00{code}0", f"{code}0"]
    carriers = ["17951", "12593", "12583", "125831", "10193", "1795100", "011", "001", "0015", "031"]
    local = [mobile[:1], mobile[:3], f"0{mobile[:2]}", *[line[:3] for line in lines], *[f"0{line[:4]}" for line in lines]]
    return abroad + home * 2 + carriers + local * 2


def national(number):
    return phonenumbers.national_significant_number(number)


def random_text(rng, beginnings):
    count = rng.randint(DIGITS_MIN, DIGITS_MAX)
    text = rng.choice(beginnings) if rng.random() < 0.6 else ""
    digits = sum(char.isdigit() for char in text)
    text += "".join(rng.choices("0123456789", k=max(count - digits, 0 if digits >= DIGITS_MIN else DIGITS_MIN - digits)))
    for _ in range(rng.choice([0, 0, 0, 1, 1, 2, 3, 4])):
        at = rng.randint(0, len(text))
        text = text[:at] + rng.choice(PUNCTUATION) + text[at:]
    if rng.random() < 0.01:
        text += ".0"
    return text.strip()


def random_texts(region, count, seed):
    rng, beginnings = random.Random(f"{seed} {region}"), prefixes(region)
    return (random_text(rng, beginnings) for _ in range(count))


# --- The judge ---------------------------------------------------------------------------------------


def parsed(text, region):
    try:
        return phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return None


def digits_of(number):
    return f"{number.country_code}{national(number)}"


def valid_number(text, region):
    """The digits of the valid number that libphonenumber sees in the text, at once or from its E.164 form, or None."""
    number = parsed(text, region)
    if number is not None and not phonenumbers.is_valid_number(number):
        number = parsed(f"+{digits_of(number)}", None)
    return digits_of(number) if number is not None and phonenumbers.is_valid_number(number) else None


def behind_zeros(text):
    """The text behind its leading 00, or None."""
    opened = text.lstrip(OPENING)
    return opened[2:] if opened.startswith("00") else None


def meant(text, region):
    """The valid number that the text means: a leading 00 is a plus sign, if that gives one."""
    behind = behind_zeros(text)
    number = valid_number(f"+{behind}", region) if behind is not None else None
    return number or valid_number(text, region)


def is_short(digits, region):
    code = phonenumbers.country_code_for_region(region)
    zeros = len(digits) - len(digits.lstrip("0"))
    number = phonenumbers.PhoneNumber(
        country_code=code,
        national_number=int(digits),
        italian_leading_zero=zeros > 0 or None,
        number_of_leading_zeros=zeros or None,
    )
    return national(number) == digits and shortnumberinfo.is_valid_short_number_for_region(number, region)


@functools.cache
def example_mobile(region):
    return national(phonenumbers.example_number_for_type(region, PhoneNumberType.MOBILE))


def is_like_a_mobile(digits, region):
    example = example_mobile(region)
    return len(digits) == len(example) and digits[0] == example[0]


def judged(text, given, region):
    """Why this is right, or "WRONG: ..."."""
    if given == text:
        return "as it stands" if meant(text, region) is None else "as it stands, though valid"
    if not (given.startswith("00") and given.isascii() and given.isdigit()):
        return "WRONG: neither the text nor a number"
    number = parsed(f"+{given[2:]}", None)
    if number is not None and phonenumbers.is_valid_number(number):
        return "the same valid number" if digits_of(number) == meant(text, region) else "WRONG: another valid number"
    code = str(phonenumbers.country_code_for_region(region))
    digits, behind = phonenumbers.normalize_digits_only(text), behind_zeros(text)
    if text.lstrip(OPENING).startswith("+") and given == f"00{digits}":
        return "explicit digits"
    if behind is not None and given == f"00{phonenumbers.normalize_digits_only(behind)}":
        return "explicit digits"
    if given == f"00{code}{digits}" and is_short(digits, region):
        return "a hotline"
    bare = digits.removeprefix(code) if given == f"00{digits}" else digits
    if given == f"00{code}{bare}" and is_like_a_mobile(bare, region):
        return "like a mobile"
    return "WRONG: other digits"


class Tally:
    """Counts the judge's words and keeps what was wrong."""

    def __init__(self):
        self.counts, self.wrong = collections.Counter(), []

    def add(self, text, given, region):
        word = judged(text, given, region)
        self.counts[word] += 1
        if word.startswith("WRONG"):
            self.wrong.append((region, text, given, word))

    def report(self, name):
        print(f"{name}: {self.counts.total()} texts, {len(self.wrong)} wrong;", dict(self.counts.most_common()))
        for row in self.wrong[:SHOWN_MAX]:
            print("   ", *map(ascii, row))
        return not self.wrong


# --- The commands ----------------------------------------------------------------------------------


def generate(options):
    sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    for text in random_texts(options.region, options.count, options.seed):
        print(text)
    return True


def check(options):
    tally = Tally()
    # Bytes, because universal line ends would split at more than the line feed.
    for line in sys.stdin.buffer:
        text, given = line.decode().removesuffix("\n").split("\t")
        tally.add(text, given, options.region)
    # An empty pipe must not pass for one that was checked.
    return tally.report(options.region) and tally.counts.total() > 0


def oracle(options):
    from reading import dialled, read

    right = True
    for region in options.regions:
        tally, moved = Tally(), []
        for text in random_texts(region, options.count, options.seed):
            number = read(text, region)
            given = dialled(number, region)
            tally.add(text, given, region)
            if read(given, region) != number:
                moved.append((text, number, given, read(given, region)))
        right &= tally.report(region) and not moved
        for row in moved[:SHOWN_MAX]:
            print("    no fixed point:", ascii(row))
    return right


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for command in [generate, check, oracle]:
        made = commands.add_parser(command.__name__)
        made.set_defaults(run=command)
        if command is not oracle:
            made.add_argument("region")
        if command is not check:
            made.add_argument("count", type=int)
            made.add_argument("--seed", default="1")
        if command is oracle:
            made.add_argument("--regions", nargs="+", default=REGIONS)
    options = parser.parse_args()
    return 0 if options.run(options) else 1


if __name__ == "__main__":
    sys.exit(main())
