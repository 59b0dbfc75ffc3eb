//! Faults on purpose in a protocol: proof that its tests would find them. Without the cargo feature `broken`, which only
//! such tests enable, every question here is answered `false` at compile time.

#[cfg(not(feature = "broken"))]
use std::marker::PhantomData;

/// Which of a protocol's faults `F`, each of them one line of it, is switched on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Broken<F>(#[cfg(not(feature = "broken"))] PhantomData<F>, #[cfg(feature = "broken")] Option<F>);

impl<F: Copy + Eq> Broken<F> {
    /// Nothing is wrong.
    #[cfg(not(feature = "broken"))]
    pub const NOT: Broken<F> = Broken(PhantomData);
    /// Nothing is wrong.
    #[cfg(feature = "broken")]
    pub const NOT: Broken<F> = Broken(None);

    /// This is wrong.
    #[cfg(feature = "broken")]
    pub const fn on(fault: F) -> Broken<F> {
        Broken(Some(fault))
    }

    /// Whether `fault` is switched on.
    #[cfg(feature = "broken")]
    pub fn is(self, fault: F) -> bool {
        self.0 == Some(fault)
    }

    /// Never, without the feature.
    #[cfg(not(feature = "broken"))]
    #[inline(always)]
    pub const fn is(self, _: F) -> bool {
        false
    }
}

impl<F: Copy + Eq> Default for Broken<F> {
    fn default() -> Broken<F> {
        Broken::NOT
    }
}
