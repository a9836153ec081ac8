//! Tests of what may be left to the kernel.
