//! The table of usual numbers, derived from libphonenumber's metadata: what its patterns say of every number, found by
//! walking their automata side by side.

#![allow(deprecated, reason = "rlibphonenumber says so of fields that it keeps elsewhere; those of a file are filled")]

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use prost::Message as _;
use regex_automata::util::primitives::StateID;
use rlibphonenumber::{PhoneMetadata, PhoneMetadataCollection};

use super::patterns::{Format, OfRegion, Pattern, Written, lengths, unwrapped};
use crate::random::Random;

const METADATA: &[u8] = include_bytes!("../../../src/phone/libphonenumber-9.0.42.bin");

/// Maximum digits of a number.
const DIGITS_MAX: usize = 15;

/// Maximum zeros before a national number that rlibphonenumber writes.
const ZEROS_MAX: usize = 10;

/// Everything that the metadata say of the numbers of one country code.
struct Plan {
    regions: Vec<OfRegion>,
    formats: Vec<Format>,
    /// The prefix that is removed from national numbers.
    prefix: Option<Pattern>,
    /// The lengths of national numbers from which a leading 0 is removed.
    behind_zero: u32,
    /// The lengths of numbers that are possible, valid or not.
    possible: u32,
    country_code_digits: usize,
}

/// The states of all patterns within a national number.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Walk {
    length: usize,
    is_all_zeros: bool,
    states: Vec<StateID>,
    /// The state of the prefix's pattern if a 0 stood before the number.
    after_zero: Option<StateID>,
}

/// The lengths of national numbers from which a leading trunk 0 is removed.
fn behind_zero(metadata: &PhoneMetadata) -> u32 {
    let general = metadata.general_desc.as_ref().unwrap();
    let prefix = metadata.national_prefix_for_parsing.as_deref().and_then(unwrapped);
    let takes_zero = prefix.map(Pattern::new).is_some_and(|prefix| prefix.matches(prefix.next(prefix.start(), 0)));
    // A rule replaces what was captured.
    let is_simple = metadata.national_prefix_transform_rule().is_empty()
        || !prefix.unwrap_or_default().replace("(?:", "").contains('(');
    let local = lengths(&general.possible_length_local_only);
    if takes_zero && is_simple { lengths(&general.possible_length) & !local } else { 0 }
}

impl Plan {
    fn new(of_code: &[&PhoneMetadata]) -> Self {
        let main = of_code[0];
        let prefix = main.national_prefix_for_parsing.as_deref().and_then(unwrapped);
        Self {
            regions: of_code.iter().map(|metadata| OfRegion::new(metadata)).collect(),
            formats: main.number_format.iter().map(Format::new).collect(),
            prefix: prefix.map(Pattern::new),
            behind_zero: behind_zero(main),
            possible: lengths(&main.general_desc.as_ref().unwrap().possible_length),
            country_code_digits: main.country_code.unwrap().to_string().len(),
        }
    }

    fn patterns(&self) -> impl Iterator<Item = &Pattern> {
        let formats = self.formats.iter().flat_map(|format| format.leading.iter().chain([&format.pattern]));
        self.regions.iter().flat_map(OfRegion::patterns).chain(formats).chain(&self.prefix)
    }

    fn start(&self) -> Walk {
        let after_zero = self.prefix.as_ref().map(|prefix| prefix.next(prefix.start(), 0));
        Walk { length: 0, is_all_zeros: true, states: self.patterns().map(Pattern::start).collect(), after_zero }
    }

    /// Continues with one more digit; `None` if a prefix might be removed then, or zeros.
    fn next(&self, walk: &Walk, digit: u8) -> Option<Walk> {
        let is_all_zeros = walk.is_all_zeros && digit == 0;
        if walk.length + self.country_code_digits == DIGITS_MAX || (is_all_zeros && walk.length == ZEROS_MAX) {
            return None;
        }
        let states: Vec<StateID> =
            self.patterns().zip(&walk.states).map(|(pattern, state)| pattern.next(*state, digit)).collect();
        let mut after_zero = walk.after_zero;
        if let Some(prefix) = &self.prefix {
            if prefix.matches(*states.last().unwrap()) {
                return None;
            }
            after_zero = after_zero.map(|state| prefix.next(state, digit)).filter(|state| !prefix.matches(*state));
        }
        Some(Walk { length: walk.length + 1, is_all_zeros, states, after_zero })
    }

    /// What is known of the number that was walked.
    fn facts(&self, walk: &Walk) -> Facts {
        let mut states = walk.states.iter().copied();
        let mut has: Vec<Option<bool>> =
            self.regions.iter().map(|region| region.has(walk.length, &mut states)).collect();
        // Where there is one region, it is not asked for how its numbers begin.
        if let [only] = &mut has[..] {
            only.get_or_insert(false);
        }
        let is_known = has.iter().all(Option::is_some);
        let valid = is_known && has.contains(&Some(true));
        let possible = is_known && !valid && self.possible >> walk.length & 1 == 1;
        let mut written = None;
        for format in &self.formats {
            let mut next = |pattern: &Pattern| pattern.matches(states.next().unwrap());
            let leads = format.leading.as_ref().is_none_or(&mut next);
            if next(&format.pattern) && leads {
                written.get_or_insert(format.written);
            }
        }
        let zero_comes_off = walk.after_zero.is_some() && self.behind_zero >> walk.length & 1 == 1;
        Facts {
            valid,
            possible,
            plain: possible || (valid && written.unwrap_or(Written::Plain) == Written::Plain),
            behind_zero: valid && written == Some(Written::BehindZero) && zero_comes_off,
        }
    }
}

/// What is known of a number.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Facts {
    valid: bool,
    /// It is possible, and not valid.
    possible: bool,
    plain: bool,
    behind_zero: bool,
}

/// Bit masks of how many digits may remain: for valid numbers, for possible ones that are not valid, for those written
/// plain, and for those written behind a 0.
type Masks = [u16; 4];

/// The automaton of all numbers. Equal nodes are stored once.
#[derive(Default)]
struct Nodes {
    nodes: Vec<(Facts, [u32; 10])>,
    ids: HashMap<(Facts, [u32; 10]), u32>,
    /// The masks of a node after which the digits themselves no longer matter.
    masks: Vec<Option<Masks>>,
    /// Whether a node is on the way to a valid number.
    leads: Vec<bool>,
}

impl Nodes {
    fn add(&mut self, facts: Facts, children: [u32; 10]) -> u32 {
        *self.ids.entry((facts, children)).or_insert_with(|| {
            let alike = children.iter().all(|child| *child == children[0]);
            let rest = if self.nodes.is_empty() { Some(Masks::default()) } else { self.masks[children[0] as usize] };
            let here = [facts.valid, facts.possible, facts.plain, facts.behind_zero].map(u16::from);
            self.masks.push(rest.filter(|_| alike).map(|rest| std::array::from_fn(|at| rest[at] << 1 | here[at])));
            let leads = facts.valid || children.iter().any(|child| self.leads.get(*child as usize) == Some(&true));
            self.leads.push(leads);
            self.nodes.push((facts, children));
            u32::try_from(self.nodes.len() - 1).unwrap()
        })
    }

    fn of_plan(&mut self, plan: &Plan, walk: &Walk, known: &mut HashMap<Walk, u32>) -> u32 {
        if let Some(id) = known.get(walk) {
            return *id;
        }
        let mut children = [0; 10];
        for digit in 0..10_u8 {
            if let Some(next) = plan.next(walk, digit) {
                children[usize::from(digit)] = self.of_plan(plan, &next, known);
            }
        }
        let id = self.add(plan.facts(walk), children);
        known.insert(walk.clone(), id);
        id
    }
}

/// How one region reads numbers without a country code.
struct Home<'p> {
    plan: &'p Plan,
    /// The prefixes that are removed, and those of calls abroad.
    stripped: Vec<Pattern>,
    /// The lengths of national numbers from which a leading 0 is removed.
    behind_zero: u32,
    country_code: Vec<u8>,
}

/// The states of all patterns within a number dialled at home.
#[derive(Clone, PartialEq, Eq, Hash)]
struct HomeWalk {
    walk: Walk,
    stripped: Vec<StateID>,
    after_zero: bool,
    /// Whether all digits so far are those of the country code.
    in_country_code: bool,
}

impl<'p> Home<'p> {
    fn new(plan: &'p Plan, metadata: &PhoneMetadata) -> Self {
        let stripped = metadata.national_prefix_for_parsing.iter().chain(&metadata.international_prefix);
        Self {
            plan,
            stripped: stripped.filter_map(|pattern| unwrapped(pattern)).map(Pattern::new).collect(),
            behind_zero: behind_zero(metadata),
            country_code: metadata.country_code.unwrap().to_string().bytes().map(|digit| digit - b'0').collect(),
        }
    }

    fn start(&self) -> HomeWalk {
        let stripped = self.stripped.iter().map(Pattern::start).collect();
        HomeWalk { walk: self.plan.start(), stripped, after_zero: false, in_country_code: true }
    }

    fn next(&self, at: &HomeWalk, digit: u8) -> Option<HomeWalk> {
        let next = |(pattern, state): (&Pattern, &StateID)| pattern.next(*state, digit);
        let stripped: Vec<StateID> = self.stripped.iter().zip(&at.stripped).map(next).collect();
        let matched = self.stripped.iter().zip(&stripped).any(|(pattern, state)| pattern.matches(*state));
        if at.walk.length == 0 && !at.after_zero && digit == 0 && self.behind_zero > 0 {
            // The first digit of the number is still to come.
            return Some(HomeWalk { walk: at.walk.clone(), stripped, after_zero: true, in_country_code: false });
        }
        let in_country_code = at.in_country_code && self.country_code.get(at.walk.length) == Some(&digit);
        if matched || (in_country_code && at.walk.length + 1 == self.country_code.len()) {
            return None;
        }
        let walk = self.plan.next(&at.walk, digit)?;
        let in_country_code = in_country_code && at.walk.length < self.country_code.len();
        Some(HomeWalk { walk, stripped, after_zero: at.after_zero, in_country_code })
    }

    fn facts(&self, at: &HomeWalk) -> Facts {
        let facts = self.plan.facts(&at.walk);
        if at.after_zero && self.behind_zero >> at.walk.length & 1 == 0 { Facts::default() } else { facts }
    }
}

impl Nodes {
    fn of_home(&mut self, home: &Home<'_>, at: &HomeWalk, known: &mut HashMap<HomeWalk, u32>) -> u32 {
        if let Some(id) = known.get(at) {
            return *id;
        }
        let mut children = [0; 10];
        for digit in 0..10_u8 {
            if let Some(next) = home.next(at, digit) {
                children[usize::from(digit)] = self.of_home(home, &next, known);
            }
        }
        let id = self.add(home.facts(at), children);
        known.insert(at.clone(), id);
        id
    }

    /// The root of the country codes that begin with `begun`.
    fn of_codes(&mut self, begun: &str, of_code: &BTreeMap<String, u32>) -> u32 {
        if let Some(id) = of_code.get(begun) {
            return *id;
        }
        if !of_code.keys().any(|code| code.starts_with(begun)) {
            return 0;
        }
        let children = std::array::from_fn(|digit| self.of_codes(&format!("{begun}{digit}"), of_code));
        self.add(Facts::default(), children)
    }
}

/// A region of the table.
pub struct Region {
    pub code: String,
    pub country_code: u16,
    /// The root of its national numbers, with or without a trunk 0.
    root: u32,
    strips_zero: bool,
}

/// The table, and the nodes and regions it was made from.
pub struct Derived {
    nodes: Nodes,
    /// The root of numbers with country codes.
    root: u32,
    pub regions: Vec<Region>,
}

impl Derived {
    pub fn new() -> Self {
        let all = PhoneMetadataCollection::decode(METADATA).unwrap().metadata;
        let mut by_code: BTreeMap<i32, VecDeque<&PhoneMetadata>> = BTreeMap::new();
        for metadata in &all {
            let of_code = by_code.entry(metadata.country_code.unwrap()).or_default();
            if metadata.main_country_for_code() { of_code.push_front(metadata) } else { of_code.push_back(metadata) }
        }
        let (mut nodes, mut regions, mut roots) = (Nodes::default(), Vec::new(), BTreeMap::new());
        nodes.add(Facts::default(), [0; 10]);
        for (code, of_code) in by_code {
            let of_code: Vec<_> = of_code.into();
            let plan = Plan::new(&of_code);
            roots.insert(code.to_string(), nodes.of_plan(&plan, &plan.start(), &mut HashMap::new()));
            for metadata in of_code.iter().filter(|metadata| metadata.id != "001") {
                let home = Home::new(&plan, metadata);
                regions.push(Region {
                    code: metadata.id.clone(),
                    country_code: code.try_into().unwrap(),
                    root: nodes.of_home(&home, &home.start(), &mut HashMap::new()),
                    strips_zero: home.behind_zero > 0,
                });
            }
        }
        regions.sort_by(|one, other| one.code.cmp(&other.code));
        let root = nodes.of_codes("", &roots);
        Self { nodes, root, regions }
    }

    /// The table in the form that `src/phone/fast_path.rs` reads.
    pub fn table(&self) -> Vec<u8> {
        let masks: BTreeSet<Masks> = self.nodes.masks.iter().flatten().copied().collect();
        let leaf = |masks_of: &Masks| u16::try_from(masks.iter().position(|masks| masks == masks_of).unwrap()).unwrap();
        let mut places = Vec::new();
        let mut inner: u16 = masks.len().try_into().unwrap();
        for masks in &self.nodes.masks {
            places.push(masks.as_ref().map_or(inner, leaf));
            inner += u16::from(masks.is_none());
        }
        let place = |id: u32| places[id as usize];
        let mut table: Vec<u16> =
            vec![masks.len().try_into().unwrap(), inner, self.regions.len().try_into().unwrap(), place(self.root)];
        table.extend(masks.iter().flatten());
        for ((_, children), masks) in self.nodes.nodes.iter().zip(&self.nodes.masks) {
            if masks.is_none() {
                table.extend(children.map(place));
            }
        }
        for region in &self.regions {
            let code = u16::from_le_bytes(region.code.as_bytes().try_into().unwrap());
            table.extend([code, region.country_code, place(region.root), region.strips_zero.into()]);
        }
        table.into_iter().flat_map(u16::to_le_bytes).collect()
    }

    /// The digits of a number in the table, from the root of a region or of country codes.
    pub fn pick(&self, region: Option<&Region>, random: &mut Random) -> Option<String> {
        let (mut at, mut digits) = (region.map_or(self.root, |region| region.root), String::new());
        loop {
            let (facts, children) = &self.nodes.nodes[at as usize];
            let on: Vec<usize> = (0..10).filter(|digit| self.nodes.leads[children[*digit] as usize]).collect();
            match random.pick(&on) {
                Some(digit) if !facts.valid || random.percent(90) => {
                    digits.push(char::from(b"0123456789"[*digit]));
                    at = children[*digit];
                }
                _ => return facts.valid.then_some(digits),
            }
        }
    }
}
