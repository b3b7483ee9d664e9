#!/usr/bin/env python3
"""The valid short numbers of every region, taken out of libphonenumber for the service.

The service's Rust port of libphonenumber has no ShortNumberInfo. This script writes the patterns of the
Python port (`pip install phonenumbers==9.0.42`) to src/phone/short-numbers-9.0.42.tsv, one region a line:

    region    lengths, divided by commas    pattern, a regular expression that the whole number matches

A number is a valid short number of the region when its length is among the lengths and all of it matches
the pattern. libphonenumber also matches it against the region's general pattern; the script proves that
this never decides anything, and stops if it ever does. Regions that are not in the file have no short numbers.

Run from anywhere, without arguments; it writes the same bytes every time.
"""

import re
from pathlib import Path

import phonenumbers
from phonenumbers import PhoneNumber, shortnumberinfo
from phonenumbers.phonemetadata import PhoneMetadata

assert phonenumbers.__version__ == "9.0.42", phonenumbers.__version__

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "src" / "phone" / f"short-numbers-{phonenumbers.__version__}.tsv"
HEADER = f"# written by tests/oracle/short_numbers.py with phonenumbers {phonenumbers.__version__}; columns: region, lengths, pattern"
CHECKED_DIGITS_MAX = 4


# --- Proving that one pattern allows all that another does -----------------------------------------

DIGITS = "0123456789"


def automaton(pattern):
    """The pattern as (start, end, steps, jumps) of an automaton: steps[state] = [(digits, next)], jumps[state] = [next]."""
    steps, jumps = {}, {}
    count = 0

    def state():
        nonlocal count
        count += 1
        return count

    def build(parsed, start):
        for kind, value in parsed:
            kind = str(kind)
            if kind == "LITERAL":
                end = state()
                steps.setdefault(start, []).append((chr(value), end))
            elif kind == "IN":
                end = state()
                steps.setdefault(start, []).append(("".join(map(one_of, value)), end))
            elif kind == "SUBPATTERN":
                end = build(value[-1], start)
            elif kind == "BRANCH":
                end = state()
                for branch in value[1]:
                    jumps.setdefault(build(branch, start), []).append(end)
            elif kind == "MAX_REPEAT":
                least, most, repeated = value
                end, last = state(), start
                for times in range(most + 1):
                    if times >= least:
                        jumps.setdefault(last, []).append(end)
                    if times < most:
                        last = build(repeated, last)
            else:
                raise ValueError(f"{kind} in {pattern}")
            start = end
        return start

    def one_of(item):
        kind, value = str(item[0]), item[1]
        if kind == "LITERAL":
            return chr(value)
        if kind == "RANGE":
            return "".join(map(chr, range(value[0], value[1] + 1)))
        assert (kind, str(value)) == ("CATEGORY", "CATEGORY_DIGIT"), pattern
        return DIGITS

    return 0, build(re._parser.parse(pattern), 0), steps, jumps


def closed(states, jumps):
    """The states and those that a jump reaches."""
    found, left = set(states), list(states)
    while left:
        for following in jumps.get(left.pop(), ()):
            if following not in found:
                found.add(following)
                left.append(following)
    return frozenset(found)


def stepped(states, digit, steps, jumps):
    return closed({to for state in states for digits, to in steps.get(state, ()) if digit in digits}, jumps)


def allows_all_of(wide, narrow):
    """Whether `wide` matches every number that `narrow` matches."""
    wide_start, wide_end, *wide = automaton(wide)
    narrow_start, narrow_end, *narrow = automaton(narrow)
    first = closed([wide_start], wide[1]), closed([narrow_start], narrow[1])
    seen, left = {first}, [first]
    while left:
        in_wide, in_narrow = left.pop()
        if narrow_end in in_narrow and wide_end not in in_wide:
            return False
        for digit in DIGITS:
            pair = stepped(in_wide, digit, *wide), stepped(in_narrow, digit, *narrow)
            if pair[1] and pair not in seen:
                seen.add(pair)
                left.append(pair)
    return True


# --- The table -------------------------------------------------------------------------------------


def short_number(code, digits):
    """The digits as libphonenumber holds them; of zeros alone the last one is the number."""
    zeros = len(digits) - len(digits.lstrip("0")) - (digits.strip("0") == "")
    return PhoneNumber(
        country_code=code,
        national_number=int(digits),
        italian_leading_zero=True if zeros > 0 else None,
        number_of_leading_zeros=zeros if zeros > 0 else None,
    )


def row(region):
    metadata = PhoneMetadata.short_metadata_for_region(region)
    general, short = metadata.general_desc, metadata.short_code
    if short.national_number_pattern is None:
        return None
    # An empty list of lengths allows all of them; libphonenumber leaves none empty here.
    assert general.possible_length and short.possible_length, region
    assert allows_all_of(general.national_number_pattern, short.national_number_pattern), region
    lengths = sorted(set(general.possible_length) & set(short.possible_length))
    return region, lengths, short.national_number_pattern


def check(rows):
    """Every number of few digits, read by the library itself, must be what the table says."""
    for region, lengths, pattern in rows:
        code, compiled = phonenumbers.country_code_for_region(region), re.compile(pattern)
        for length in range(1, CHECKED_DIGITS_MAX + 1):
            for value in range(10**length):
                digits = f"{value:0{length}}"
                number = short_number(code, digits)
                assert phonenumbers.national_significant_number(number) == digits
                by_library = shortnumberinfo.is_valid_short_number_for_region(number, region)
                by_table = length in lengths and compiled.fullmatch(digits) is not None
                assert by_library == by_table, (region, digits)


def main():
    rows = list(filter(None, map(row, sorted(shortnumberinfo.SUPPORTED_SHORT_REGIONS))))
    check(rows)
    lines = [f"{region}\t{','.join(map(str, lengths))}\t{pattern}" for region, lengths, pattern in rows]
    content = "\n".join([HEADER, *lines]) + "\n"
    TABLE.write_bytes(content.encode("ascii"))
    print(f"{TABLE.relative_to(ROOT)}: {len(lines)} regions, {len(content)} bytes")


if __name__ == "__main__":
    main()
