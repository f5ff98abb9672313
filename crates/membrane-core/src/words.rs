//! Enumerations that are stored and sent as words: one macro, so that all of them read and refuse
//! alike. The enumerations stand where they belong.

macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $what:literal, $allowed:literal, { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// The word that is stored and sent.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// Reads the word back.
            ///
            /// # Errors
            /// [`ValueError::Unknown`](crate::error::ValueError::Unknown) naming the words that are accepted.
            pub fn parse(text: &str) -> Result<Self, $crate::error::ValueError> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    other => Err($crate::error::ValueError::Unknown {
                        what: $what,
                        value: other.chars().take(64).collect(),
                        allowed: $allowed,
                    }),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use words;
