//! The raw bindings: what `build.rs` allow-lists by name, and nothing else.
//!
//! Private to this crate. Promises nothing: every call is `unsafe`, and the modules beside this one say why theirs
//! are sound. `rte_mbuf` and `rte_mempool` are incomplete here, so their fields can be reached only through the
//! offsets that the C shim computes for the DPDK release at hand.
#![allow(missing_docs, reason = "generated; shim.h and DPDK's own headers hold the documentation")]
#![allow(non_camel_case_types, non_upper_case_globals, reason = "C's names")]
#![allow(dead_code, reason = "an enum is bound whole even where one constant of it is used")]
#![allow(unreachable_pub, reason = "bindgen writes `pub`")]
#![allow(clippy::all, clippy::undocumented_unsafe_blocks, reason = "generated code")]
#![allow(clippy::indexing_slicing, reason = "bindgen checks layouts by indexing constant arrays")]

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
