//! The shape of the settings table: what is known of a setting besides its value. Names no setting.

/// How often a setting may be given, and what it is when it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One value, with a default.
    One,
    /// One value or none.
    Optional,
    /// Any number of values: a flag is repeated, and a value may hold several between commas.
    Many,
    /// True when its flag stands alone.
    Switch,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The heading that it stands under.
    pub group: &'static str,
    /// Its name: the flag without dashes in front, and the key in a file.
    pub name: &'static str,
    /// What stands for its value in help.
    pub placeholder: &'static str,
    /// The default as a user would write it; empty where there is none.
    pub default: &'static str,
    /// What it does and why its default is what it is.
    pub help: &'static str,
    /// How often it may be given.
    pub kind: Kind,
}

impl Setting {
    /// The environment variable that sets it.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("{VARIABLE_PREFIX}{}", self.name.replace('-', "_").to_ascii_uppercase())
    }
}

/// What every variable of the sidecar starts with.
pub(super) const VARIABLE_PREFIX: &str = "SANDGATE_";

/// `name` with dashes for underscores: a field's name as a flag.
pub(super) const fn dashed<const N: usize>(name: &str) -> [u8; N] {
    let bytes = name.as_bytes();
    let mut out = [0; N];
    let mut at = 0;
    while at < N {
        out[at] = if bytes[at] == b'_' { b'-' } else { bytes[at] };
        at += 1;
    }
    out
}

/// Makes the `Settings` struct, the table of its rows, and the function that parses each.
macro_rules! settings {
    ($($group:literal { $(
        $(#[doc = $help:literal])+
        $field:ident: $type:ty = $default:literal, $placeholder:literal, $kind:ident($parse:path);
    )* })*) => {
        /// All settings, parsed and checked.
        #[derive(Clone, Debug)]
        pub struct Settings {
            $($( $(#[doc = $help])+ pub $field: $type, )*)*
            /// What a user should know about where these settings came from; to be logged once.
            pub warnings: Vec<String>,
        }

        /// Every setting, in the order of help and documentation.
        pub const TABLE: &[Setting] = &[$($(Setting {
            group: $group,
            name: {
                const NAME: [u8; stringify!($field).len()] = $crate::settings::table::dashed(stringify!($field));
                match std::str::from_utf8(&NAME) {
                    Ok(name) => name,
                    Err(_) => panic!("a field's name is ASCII"),
                }
            },
            placeholder: $placeholder,
            default: $default,
            help: concat!($($help),+).trim_ascii(),
            kind: $crate::settings::table::kind!($kind),
        },)*)*];

        impl Settings {
            fn parse_each(layers: &mut Layers) -> Option<Self> {
                $($( let $field = layers.$kind(stringify!($field), $parse); )*)*
                Some(Self { $($( $field: $field?, )*)* warnings: Vec::new() })
            }
        }
    };
}

macro_rules! kind {
    (one) => {
        $crate::settings::Kind::One
    };
    (optional) => {
        $crate::settings::Kind::Optional
    };
    (many) => {
        $crate::settings::Kind::Many
    };
    (joined) => {
        $crate::settings::Kind::Many
    };
    (switch) => {
        $crate::settings::Kind::Switch
    };
}

pub(super) use {kind, settings};
