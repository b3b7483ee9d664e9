//! What is computed once for a context: the S2V prefix of each enabled key. There are at most as many contexts as
//! clients.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use crate::{ids::Context, siv::Prefix};

/// The prefixes of one context, in the order of the ring's keys; `None` for a key that is not enabled.
type Prefixes = Arc<Vec<Option<Prefix>>>;

type ByContext = Vec<(Context, Prefixes)>;

/// The prefixes of each context asked for so far.
#[derive(Default)]
pub(super) struct PrefixCache(ArcSwap<ByContext>);

/// The prefixes of one context.
pub(super) struct ContextPrefixes {
    all: Guard<Arc<ByContext>>,
    at: usize,
}

impl PrefixCache {
    /// The prefixes of `context`. `compute` makes them the first time.
    pub(super) fn of(&self, context: &Context, compute: impl FnOnce() -> Vec<Option<Prefix>>) -> ContextPrefixes {
        let find = |all: &ByContext| all.iter().position(|(known, _)| known == context);
        let all = self.0.load();
        if let Some(at) = find(&all) {
            return ContextPrefixes { all, at };
        }
        let prefixes = Arc::new(compute());
        self.0.rcu(|all| {
            let mut all = all.to_vec();
            if find(&all).is_none() {
                all.push((context.clone(), prefixes.clone()));
            }
            all
        });
        let all = self.0.load();
        let at = find(&all).expect("nothing is ever taken out");
        ContextPrefixes { all, at }
    }
}

impl ContextPrefixes {
    /// The prefix of the key at `index` of the ring, if that key is enabled.
    pub(super) fn of_key(&self, index: usize) -> Option<&Prefix> {
        self.all[self.at].1[index].as_ref()
    }
}
