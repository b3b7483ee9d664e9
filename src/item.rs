//! The vocabulary for one item of a batch, which all modules that handle items share: what is asked, and why it failed.

/// What a batch asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Numbers to UIDs, under the primary key.
    PhoneToUid,
    /// UIDs to numbers, as CCC dials them.
    UidToPhone,
    /// UIDs under any enabled key to the UIDs of the same numbers under the primary key.
    RewrapUid,
    /// Numbers to their UIDs under every enabled key.
    PhoneToAliases,
}

impl Mode {
    /// Every mode.
    pub const ALL: [Self; 4] = [Self::PhoneToUid, Self::UidToPhone, Self::RewrapUid, Self::PhoneToAliases];

    /// The mode as it is written on the wire and in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::PhoneToUid => "PhoneToUID",
            Self::UidToPhone => "UIDToPhone",
            Self::RewrapUid => "RewrapUID",
            Self::PhoneToAliases => "PhoneToAliases",
        }
    }

    /// The mode of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }
}

/// Why one item failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ItemError {
    /// Empty, over 128 bytes, or with a control character inside.
    InvalidNumber,
    /// A number where a UID is wanted: somebody dialled by hand.
    PlainNumber,
    /// A text that is not a UID, or a UID whose plaintext tokenizing never writes.
    MalformedUid,
    /// A UID of a key that is not in this ring.
    UnknownKey,
    /// A UID of a key that is disabled.
    KeyDisabled,
    /// A UID of a key whose material is gone for good.
    KeyDestroyed,
    /// A UID that its key never made in this context: mistyped, forged, or from another context.
    NotAuthentic,
}

impl ItemError {
    /// Every reason, in the order of their declaration.
    pub const ALL: [Self; 7] = [
        Self::InvalidNumber,
        Self::PlainNumber,
        Self::MalformedUid,
        Self::UnknownKey,
        Self::KeyDisabled,
        Self::KeyDestroyed,
        Self::NotAuthentic,
    ];

    /// Whether another ring might open the UID.
    pub fn is_about_the_key(self) -> bool {
        matches!(self, Self::UnknownKey | Self::KeyDisabled | Self::KeyDestroyed)
    }

    /// The error as it is written on the wire.
    pub fn code(self) -> &'static str {
        match self {
            Self::InvalidNumber => "invalid_number",
            Self::PlainNumber => "plain_number",
            Self::MalformedUid => "malformed_uid",
            Self::UnknownKey => "unknown_key",
            Self::KeyDisabled => "key_disabled",
            Self::KeyDestroyed => "key_destroyed",
            Self::NotAuthentic => "not_authentic",
        }
    }
}

/// What UIDToPhone does with a number where a UID is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PlainNumbers {
    /// It fails, with [`ItemError::PlainNumber`].
    #[default]
    Refuse,
    /// It comes back in the form in which UIDToPhone writes numbers.
    Pass,
}
