//! `NO_PROXY` as a list of hosts. The container's own may be a megabyte long: nothing is looked up in it by going through.

use std::collections::HashSet;

/// The hosts of a list.
pub(super) fn each(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|host| !host.is_empty())
}

/// `own` with `ours` behind it, each host once. Of `known`, the hosts that some rendering of ours sets, only those stay
/// that are ours now. Merging twice is the same as once, and nothing to do leaves the text as it is.
pub(super) fn merge(own: &str, ours: &str, known: &[&str]) -> String {
    if own == ours {
        return own.to_owned();
    }
    let (present, wanted): (HashSet<&str>, HashSet<&str>) = (each(own).collect(), each(ours).collect());
    let leaving: HashSet<&str> = known.iter().copied().filter(|host| !wanted.contains(host)).collect();
    let stays = |host: &str| !leaving.contains(host);
    let missing: Vec<&str> = each(ours).filter(|our| !present.contains(our)).collect();
    let all_stay = each(own).all(stays);
    if all_stay && missing.is_empty() {
        return own.to_owned();
    }
    let own: Vec<&str> = if all_stay && each(own).next().is_some() {
        vec![own.trim_end_matches([',', ' '])]
    } else {
        each(own).filter(|host| stays(host)).collect()
    };
    own.into_iter().chain(missing).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_hosts_stay_and_ours_follow_once() {
        assert_eq!(merge("", "localhost,::1", &[]), "localhost,::1");
        assert_eq!(merge(" , ", "localhost", &[]), "localhost");
        assert_eq!(merge("a.example, localhost ,", "localhost,::1", &[]), "a.example, localhost,::1");
        assert_eq!(merge("::1 , b ,localhost", "localhost,::1", &[]), "::1 , b ,localhost");
    }

    #[test]
    fn hosts_that_an_earlier_rendering_set_leave() {
        let known = ["localhost", "old.example"];
        assert_eq!(merge("localhost,old.example", "localhost", &known), "localhost");
        assert_eq!(merge("a, old.example", "localhost", &known), "a,localhost");
    }

    #[test]
    fn merging_twice_is_the_same_as_once() {
        for own in ["", "*", "a,b", "old.example,a", " localhost", "a b"] {
            let once = merge(own, "localhost,::1", &["old.example", "localhost"]);
            assert_eq!(merge(&once, "localhost,::1", &["old.example", "localhost"]), once, "{own:?}");
        }
    }
}
