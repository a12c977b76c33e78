//! The hello tap.
