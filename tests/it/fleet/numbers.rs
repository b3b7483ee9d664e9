//! The numbers to map: several kinds, in several spellings.

/// How many numbers there are: few enough that each is minted repeatedly, by every replica and with both keys.
pub const NUMBERS: usize = 2000;

/// A number in all its spellings, and in UIDToPhone's form.
pub struct Number {
    pub spellings: Vec<String>,
    pub dialled: String,
}

impl Number {
    pub fn nth(at: usize) -> Self {
        let digits = format!("{:08}", at * 48_271 % 100_000_000);
        let (spellings, dialled) = match at % 8 {
            0..5 => {
                let (head, mid, tail) = (["138", "150", "186", "199", "177"][at % 5], &digits[..4], &digits[4..]);
                let wide = |digit| char::from_u32(u32::from(digit) + 0xFEE0).expect("a full-width digit");
                let spellings = vec![
                    format!("{head}{digits}"),
                    format!("+86 {head} {mid} {tail}"),
                    format!("0086-{head}-{mid}-{tail}"),
                    format!("tel:+86{head}{digits}"),
                    format!("{head}{digits}").chars().map(wide).collect(),
                ];
                (spellings, format!("0086{head}{digits}"))
            }
            5 => {
                let digits = &digits[2..];
                (vec![format!("075586{digits}"), format!("+86 (755) 86{digits}")], format!("0086075586{digits}"))
            }
            6 => {
                let digits = &digits[4..];
                (vec![format!("+1 650-253-{digits}"), format!("001650253{digits}")], format!("001650253{digits}"))
            }
            _ => {
                let text =
                    [format!("8{}", &digits[5..]), format!("sip:agent-{digits}@example.com")][at / 8 % 2].clone();
                (vec![text.clone(), format!(" {text}\u{200E}")], text)
            }
        };
        Self { spellings, dialled }
    }
}

/// A random generator that is good enough to choose numbers, and the same in every run (Marsaglia's xorshift).
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).unwrap()
    }
}
