//! The description of a key of the configuration, which reading, the page, the example and editors use.

/// A key of the configuration.
pub struct Key {
    /// Its tables and its name, such as `limits.numbers`. The keys of each of `[[clients]]` begin with `clients.`.
    pub path: &'static str,
    /// What its value is.
    pub kind: Kind,
    /// What applies if the key is missing.
    pub default: Default,
    /// Its values in words, as Markdown; empty if its kind tells them.
    pub values: &'static str,
    /// A value as TOML for the example; empty if the example has the default.
    pub example: &'static str,
    /// What it does, as Markdown.
    pub words: &'static str,
    /// When a change of the key takes effect.
    pub taken: Taken,
}

/// When a change of a key takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// With SIGHUP.
    OnReload,
    /// At the next start.
    AtStart,
}

/// The kind of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A string, whose form its reader checks.
    Text,
    /// Strings, whose form their reader checks.
    Texts,
    /// A path, relative to the file's folder.
    File,
    /// An address and a port.
    Address,
    /// 64 lower-case hex digits.
    Hex,
    /// Several strings of 64 lower-case hex digits.
    Hexes,
    /// True or false.
    Boolean,
    /// One of these strings.
    OneOf(&'static [&'static str]),
    /// Some of these strings.
    SomeOf(&'static [&'static str]),
    /// An integer from the first bound to the second.
    Integer(i64, i64),
    /// A count for the span that the text names, from 1 to this maximum; or no limit.
    Rate(&'static str, i64),
}

/// What applies if a key is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Default {
    /// This value, as TOML.
    Value(&'static str),
    /// What these words describe.
    Words(&'static str),
    /// Nothing: the key is required. The first text says so in words, and a fault adds the second.
    Required(&'static str, &'static str),
}

impl Key {
    /// The same key, but a change takes effect with SIGHUP.
    pub(super) const fn on_reload(self) -> Self {
        Self { taken: Taken::OnReload, ..self }
    }

    /// Its table, and its own name.
    pub(super) fn split(&self) -> (&'static str, &'static str) {
        self.path.rsplit_once('.').unwrap_or(("", self.path))
    }

    /// Its row in the page's table.
    pub fn row(&self) -> String {
        let default = match self.default {
            Default::Value(value) if value.starts_with(|c: char| c.is_ascii_digit()) => value.to_owned(),
            Default::Value(value) => format!("`{value}`"),
            Default::Words(words) | Default::Required(words, _) => words.to_owned(),
        };
        let (kind, values) = (self.kind.toml_type(), self.values());
        format!("| `{}` | {kind} | {default} | {values} | {} | {} |", self.path, self.taken.word(), self.words)
    }

    /// Its values in words, as Markdown.
    pub(super) fn values(&self) -> String {
        match self.kind {
            _ if !self.values.is_empty() => self.values.to_owned(),
            Kind::Boolean => "`true`, `false`".to_owned(),
            Kind::OneOf(names) | Kind::SomeOf(names) => {
                names.iter().map(|name| format!("`\"{name}\"`")).collect::<Vec<_>>().join(", ")
            }
            Kind::Integer(min, max) => format!("{min} to {max}"),
            Kind::Rate(_, max) => format!("1 to {max}, or `\"unlimited\"`"),
            _ => String::new(),
        }
    }

    /// Its value in the example.
    pub(super) fn example(&self) -> &'static str {
        match self.default {
            Default::Value(value) if self.example.is_empty() => value,
            _ => self.example,
        }
    }
}

impl Taken {
    fn word(self) -> &'static str {
        match self {
            Self::OnReload => "SIGHUP",
            Self::AtStart => "start",
        }
    }
}

impl Kind {
    fn toml_type(self) -> &'static str {
        match self {
            Self::Text | Self::File | Self::Address | Self::Hex | Self::OneOf(_) => "string",
            Self::Texts | Self::Hexes | Self::SomeOf(_) => "array of strings",
            Self::Boolean => "boolean",
            Self::Integer(..) | Self::Rate(..) => "integer",
        }
    }

    /// What a value must be, in the words of a fault.
    pub(super) fn demand(self) -> String {
        let one_of = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| format!("\"{name}\"")).collect();
            match names.as_slice() {
                [only] => only.clone(),
                [first @ .., last] => format!("{} or {last}", first.join(", ")),
                [] => String::new(),
            }
        };
        match self {
            Self::Text | Self::File => "a string".to_owned(),
            Self::Texts => "an array of strings".to_owned(),
            Self::Address => "an address and a port, such as \"127.0.0.1:8443\"".to_owned(),
            Self::Hex => "64 lower-case hex digits".to_owned(),
            Self::Hexes => "an array of strings of 64 lower-case hex digits".to_owned(),
            Self::Boolean => "true or false".to_owned(),
            Self::OneOf(names) => one_of(names),
            Self::SomeOf(names) => format!("an array of {}", one_of(names)),
            Self::Integer(min, max) => format!("an integer from {min} to {max}"),
            Self::Rate(span, max) => format!("numbers a {span} from 1 to {max}, or \"unlimited\""),
        }
    }
}
