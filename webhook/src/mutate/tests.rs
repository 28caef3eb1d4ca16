//! Who is called and who decides.
