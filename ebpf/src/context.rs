//! Reading and writing the fields of the kernel's contexts.
//!
//! Volatile and one field at a time: the verifier takes no other access, and the compiler would join neighbours.

/// Reads one field of the context behind a pointer.
macro_rules! read_field {
    ($context:expr, $field:ident $([$index:literal])?) => {{
        #[expect(unsafe_code, reason = "context field by pointer")]
        // SAFETY: the kernel gives a valid context; this only forms a place in it.
        let place = unsafe { &raw const (*$context).$field $([$index])? };
        #[expect(unsafe_code, reason = "context field by pointer")]
        // SAFETY: a readable field of that context: the verifier refuses others.
        let value = unsafe { ::core::ptr::read_volatile(place) };
        value
    }};
}

/// Writes one field of the context behind a pointer.
macro_rules! write_field {
    ($context:expr, $field:ident $([$index:literal])?, $value:expr) => {{
        let value = $value;
        #[expect(unsafe_code, reason = "context field by pointer")]
        // SAFETY: the kernel gives a valid context; this only forms a place in it.
        let place = unsafe { &raw mut (*$context).$field $([$index])? };
        #[expect(unsafe_code, reason = "context field by pointer")]
        // SAFETY: a writable field of that context: the verifier refuses others.
        unsafe {
            ::core::ptr::write_volatile(place, value);
        }
    }};
}

/// Reads the four words of an IPv6 address field as an `Address`.
macro_rules! read_ipv6 {
    ($context:expr, $field:ident) => {
        ::heddle_common::Address::from_ipv6_be([
            $crate::context::read_field!($context, $field[0]),
            $crate::context::read_field!($context, $field[1]),
            $crate::context::read_field!($context, $field[2]),
            $crate::context::read_field!($context, $field[3]),
        ])
    };
}

pub(crate) use {read_field, read_ipv6, write_field};
