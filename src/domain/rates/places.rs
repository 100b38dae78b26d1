//! Which ports a code stands for.

use std::collections::{HashMap, HashSet};

use super::Code;

/// A port or a region, and the region that it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub code: Code,
    pub parent: Option<Code>,
}

/// All ports and regions of one load.
#[derive(Debug, Default)]
pub struct Places {
    ports: HashSet<Code>,
    regions: HashMap<Code, Region>,
}

/// What is directly in a region.
#[derive(Debug, Default)]
struct Region {
    ports: Vec<Code>,
    regions: Vec<Code>,
}

impl Places {
    pub fn add_port(&mut self, port: Place) {
        if let Some(parent) = port.parent {
            self.regions.entry(parent).or_default().ports.push(port.code.clone());
        }
        self.ports.insert(port.code);
    }

    pub fn add_region(&mut self, region: Place) {
        if let Some(parent) = region.parent {
            self.regions.entry(parent).or_default().regions.push(region.code.clone());
        }
        self.regions.entry(region.code).or_default();
    }

    /// The ports that `code` stands for, in order and each once: the port of this code, and all
    /// below the region of this slug, however deep.
    pub fn ports_of<'a>(&'a self, code: &'a Code) -> Vec<&'a str> {
        let mut ports: Vec<&str> = self.ports.get(code).map(Code::as_str).into_iter().collect();
        let mut seen = HashSet::new();
        let mut unseen = vec![code];
        while let Some(slug) = unseen.pop() {
            // A region that is its own ancestor is not loaded, but would not end.
            if let Some(region) = self.regions.get(slug).filter(|_| seen.insert(slug)) {
                ports.extend(region.ports.iter().map(Code::as_str));
                unseen.extend(&region.regions);
            }
        }
        ports.sort_unstable();
        ports.dedup();
        ports
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(code: &str, parent: &str) -> Place {
        let parent = (!parent.is_empty()).then(|| Code::parse(parent).unwrap());
        Place { code: Code::parse(code).unwrap(), parent }
    }

    #[test]
    fn a_code_stands_for_a_port_a_region_or_both() {
        let mut places = Places::default();
        for (slug, parent) in [("world", ""), ("north", "world"), ("fjords", "north"), ("both", "")]
        {
            places.add_region(place(slug, parent));
        }
        for (code, parent) in [
            ("A", "fjords"),
            ("B", "north"),
            ("C", "world"),
            ("D", ""),
            ("both", "fjords"),
            ("E", "both"),
        ] {
            places.add_port(place(code, parent));
        }
        for (code, ports) in [
            ("A", &["A"][..]),
            ("D", &["D"]),
            ("fjords", &["A", "both"]),
            ("north", &["A", "B", "both"]),
            ("world", &["A", "B", "C", "both"]),
            ("both", &["E", "both"]),
            ("World", &[]),
            ("nowhere", &[]),
        ] {
            assert_eq!(places.ports_of(&Code::parse(code).unwrap()), ports, "{code}");
        }
    }

    #[test]
    fn a_port_below_a_region_of_its_own_code_counts_once() {
        let mut places = Places::default();
        places.add_region(place("X", ""));
        places.add_port(place("X", "X"));
        assert_eq!(places.ports_of(&Code::parse("X").unwrap()), ["X"]);
    }

    #[test]
    fn a_circle_of_regions_ends() {
        let mut places = Places::default();
        places.add_region(place("a", "b"));
        places.add_region(place("b", "a"));
        places.add_port(place("P", "a"));
        assert_eq!(places.ports_of(&Code::parse("b").unwrap()), ["P"]);
    }
}
