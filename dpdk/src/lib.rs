//! Safe owners over the part of DPDK that Portcullis uses.
