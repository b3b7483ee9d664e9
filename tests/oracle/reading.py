"""What a text means, and how it is dialled: docs/specification.md, section 2, written a second time.

The service normalises with a Rust port of libphonenumber. This module does it with the Python port
(`pip install phonenumbers==9.0.42`); it shares no code with the service. `read` is PhoneToUID's half,
`dialled` is UIDToPhone's.
"""

import functools
import unicodedata

import phonenumbers
from phonenumbers import PhoneNumberFormat, PhoneNumberType, ValidationResult, shortnumberinfo

from short_numbers import short_number

assert phonenumbers.__version__ == "9.0.42", phonenumbers.__version__

INVALID = "invalid_number"
TEXT_BYTES_MAX = 128
E164_DIGITS_MAX = 15
TRUNK_ZERO_REGIONS = frozenset({"CN"})


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
POINT = set(".\uff0e")
OPENING = set("([\uff08\uff3b")
PUNCTUATION = set(" -./()[]") | chars(
    "00A0 00AD 200B 2010-2015 2060 2212 3000 30FC FF08 FF09 FF0D-FF0F FF3B FF3D"
)
BEFORE_SIGN = OPENING | (PUNCTUATION & WHITE_SPACE)


# --- Step 1 and the form of a number -------------------------------------------------------------


def read(text, region):
    """("e164", digits), ("hotline", digits), ("verbatim", text), or "invalid_number"."""
    text = text.strip(STRIPPED)
    if not text or len(text.encode()) > TEXT_BYTES_MAX:
        return INVALID
    if any(unicodedata.category(char) == "Cc" for char in text):
        return INVALID
    written = number_text(text)
    found = None if written is None else read_number(written, region)
    return found or ("verbatim", text)


def number_text(text):
    """The part of `text` that is written as a number, or None."""
    if text[:4].lower() == "tel:":
        text = text[4:]
    if not all(is_digit(char) or char in PLUS or char in PUNCTUATION for char in text):
        return None
    return None if ends_as_a_decimal(text) else text


def ends_as_a_decimal(text):
    """Spreadsheets write 13988888888 as 13988888888.0."""
    return len(text) >= 2 and text[-2] in POINT and is_zero(text[-1])


def is_digit(char):
    return unicodedata.category(char) == "Nd"


def is_zero(char):
    return is_digit(char) and unicodedata.decimal(char) == 0


def ascii_digits(text):
    return "".join(str(unicodedata.decimal(char)) for char in text if is_digit(char))


# --- Step 2, the readings of a number --------------------------------------------------------------


def read_number(written, region):
    """("e164", digits), ("hotline", digits), or None."""
    found = None
    if starts_with_zeros(written):
        found = decide(zeros_as_plus(written), region)
    return found or decide(written, region)


def sign_at(written):
    """Where the plus sign or the 00 would stand."""
    return next((at for at, char in enumerate(written) if char not in BEFORE_SIGN), len(written))


def starts_with_zeros(written):
    zeros = written[sign_at(written) :][:2]
    return len(zeros) == 2 and all(map(is_zero, zeros))


def zeros_as_plus(written):
    at = sign_at(written)
    return written[:at] + "+" + written[at + 2 :]


def explicit_digits(written):
    """The digits behind the plus sign or signs, or None if there is none in front, or one further on."""
    start = len(written) - len(written.lstrip("".join(PLUS | BEFORE_SIGN)))
    if PLUS.isdisjoint(written[:start]) or not PLUS.isdisjoint(written[start:]):
        return None
    return ascii_digits(written[start:])


def national_digits(written):
    """All digits, or None if there is a plus sign anywhere."""
    return ascii_digits(written) if PLUS.isdisjoint(written) else None


def decide(written, region):
    """The first of the rules a to d that holds, for one reading."""
    parsed = parse(written, region)
    explicit, national = explicit_digits(written), national_digits(written)
    digits = parsed and valid_digits(parsed)
    if digits:
        return "e164", digits
    hotline = hotline_digits(explicit, national, region)
    if hotline:
        return "hotline", hotline
    if parsed is None or len(e164_digits(parsed)) > E164_DIGITS_MAX:
        return None
    # A text that begins with 00 is explicit, so rule d is not for it.
    like_mobile = not starts_with_zeros(written) and is_like_a_mobile(parsed, national, region)
    if is_as_it_stands(parsed, explicit) or like_mobile:
        return "e164", e164_digits(parsed)
    return None


def parse(written, region):
    """What libphonenumber makes of the text, or None."""
    try:
        parsed = phonenumbers.parse(written, region)
    except phonenumbers.NumberParseException:
        return None
    return None if parsed.extension else parsed


def e164_digits(parsed):
    return f"{parsed.country_code}{phonenumbers.national_significant_number(parsed)}"


def reads_as(digits):
    """What "+digits" reads as, or None; a plus sign makes this the same in every region."""
    return parse(f"+{digits}", None)


# --- The rules a to d --------------------------------------------------------------------------------


def valid_digits(parsed):
    """Rule a: the digits of a valid number that reads as itself, or None."""
    digits = e164_digits(parsed)
    if not phonenumbers.is_valid_number(parsed):
        parsed = reads_as(digits) if len(digits) <= E164_DIGITS_MAX else None
        if parsed is None or not phonenumbers.is_valid_number(parsed):
            return None
        digits = e164_digits(parsed)
    if len(digits) > E164_DIGITS_MAX:
        return None
    again = reads_as(digits)
    return digits if again is not None and e164_digits(again) == digits else None


def hotline_digits(explicit, national, region):
    """Rule b: a valid short number of the region, or None."""
    code = str(phonenumbers.country_code_for_region(region))
    if explicit is not None and explicit.startswith(code):
        digits = explicit[len(code) :]
    else:
        digits = national
    return digits if digits and is_short_number(digits, region) else None


@functools.cache
def is_short_number(digits, region):
    number = short_number(phonenumbers.country_code_for_region(region), digits)
    return shortnumberinfo.is_valid_short_number_for_region(number, region)


def is_as_it_stands(parsed, explicit):
    """Rule c: possible, explicit, and no digit was dropped or added."""
    possible = phonenumbers.is_possible_number_with_reason(parsed) == ValidationResult.IS_POSSIBLE
    return possible and e164_digits(parsed) == explicit


def is_like_a_mobile(parsed, national, region):
    """Rule d: the region's own, of a mobile's length and first digit, and no digit was dropped or added."""
    example = example_mobile(region)
    if example is None or parsed.country_code != phonenumbers.country_code_for_region(region):
        return False
    number = phonenumbers.national_significant_number(parsed)
    if len(number) != len(example) or number[0] != example[0]:
        return False
    if national not in (number, e164_digits(parsed)):
        return False
    again = reads_as(e164_digits(parsed))
    return again is not None and is_as_it_stands(again, e164_digits(parsed))


@functools.cache
def example_mobile(region):
    example = phonenumbers.example_number_for_type(region, PhoneNumberType.MOBILE)
    return example and phonenumbers.national_significant_number(example)


# --- UIDToPhone ----------------------------------------------------------------------------------------


def dialled(plaintext, region, trunk_zero_regions=TRUNK_ZERO_REGIONS):
    """What UIDToPhone gives for ("e164", digits) or ("verbatim", text), under a key of the region.

    A hotline's plaintext is a verbatim text; ("hotline", digits) is taken too.
    """
    kind, text = plaintext
    if kind == "e164":
        return dialled_e164(text, trunk_zero_regions)
    if text.isascii() and text.isdigit() and is_short_number(text, region):
        return f"00{phonenumbers.country_code_for_region(region)}{text}"
    return text


def dialled_e164(digits, trunk_zero_regions):
    number = reads_as(digits)
    if (
        number is not None
        and e164_digits(number) == digits
        and phonenumbers.is_valid_number(number)
        and phonenumbers.region_code_for_country_code(number.country_code) in trunk_zero_regions
    ):
        national = phonenumbers.format_number(number, PhoneNumberFormat.NATIONAL)
        as_written = f"{number.country_code}{phonenumbers.normalize_digits_only(national)}"
        # Some regions write their numbers so that they do not come back: those stay plain.
        back = reads_as(as_written)
        if back is not None and valid_digits(back) == digits:
            return f"00{as_written}"
    return f"00{digits}"
