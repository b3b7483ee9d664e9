//! Random values for tests, the same in each run.

/// Values of Knuth's linear congruential generator for MMIX. The lower bits of one are less random than the upper.
pub(crate) fn values(seed: u64) -> impl FnMut() -> u64 {
    let mut value = seed;
    move || {
        value = value.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        value
    }
}
