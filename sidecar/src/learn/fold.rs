//! Many paths of one host and method become few: up to eight stay as they are, beyond that siblings become `parent/*`, and
//! past eight first segments it is `/**`. What is folded allows all that was put in.

use std::collections::BTreeMap;

use super::template::{Piece, Separator, Template};

/// So many paths of a host and method are kept whole, and so many first segments are told apart.
pub(super) const KEPT: usize = 8;

/// The most segments of a path among those that are folded: a glob could hardly have more wildcards.
const DEEPEST: usize = 16;

/// How often something was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    /// How many requests there were.
    pub(super) requests: u64,
    /// How many different paths they had; more than one where paths were folded.
    pub(super) paths: u64,
}

/// Paths and how often they were asked for.
pub(super) type Paths = BTreeMap<Template, Count>;

/// Counts more for a path. One function, and not inlined, for the code of a map is large.
#[inline(never)]
pub(super) fn put(paths: &mut Paths, path: Template, more: Count) {
    let count = paths.entry(path).or_default();
    count.requests += more.requests;
    count.paths += more.paths;
}

/// Folds `paths` where they are too many.
pub(super) fn fold(paths: Paths) -> Paths {
    if paths.len() <= KEPT {
        return paths;
    }
    let mut bounded = Paths::new();
    for (path, count) in folded(paths) {
        // Folding may have made more wildcards than a glob can have.
        put(&mut bounded, path.bounded(), count);
    }
    bounded
}

fn folded(paths: Paths) -> Paths {
    let mut cut = Paths::new();
    for (path, count) in paths {
        put(&mut cut, cut_off(path), count);
    }
    let mut paths = fold_at(&cut, is_last);
    if paths.len() > KEPT && first_pieces(&paths) > KEPT {
        return all_as(paths, &Template(Vec::new()));
    }
    let deepest = paths.keys().map(|path| path.0.len()).max().unwrap_or_default();
    // From the end of the paths to their beginning; what comes together at one depth may do so below it.
    for depth in (1..deepest).rev() {
        if paths.len() <= KEPT {
            return paths;
        }
        for depth in depth..deepest {
            paths = fold_at(&paths, |path, at| at == depth && !is_last(path, at));
        }
        paths = fold_at(&paths, is_last);
    }
    if paths.len() > KEPT { fold_below_first_pieces(paths) } else { paths }
}

/// A path of so many segments that looking for siblings at each of them would take long is open behind them.
fn cut_off(mut path: Template) -> Template {
    if path.0.len() > DEEPEST {
        path.0.truncate(DEEPEST);
        path.0[DEEPEST - 1].1 = Piece::Rest(Box::default());
    }
    path
}

fn is_last(path: &Template, at: usize) -> bool {
    at + 1 == path.0.len()
}

/// Two pieces are siblings where all before them is the same, and both are last or neither is. What is open at its end is
/// no sibling of what is not.
type Parent<'a> = (&'a [(Separator, Piece)], Separator, bool, bool);

fn parent(path: &Template, at: usize) -> Parent<'_> {
    let (separator, piece) = &path.0[at];
    (&path.0[..at], *separator, is_last(path, at), is_rest(piece))
}

/// Puts a wildcard in the place of siblings, at the places of a path that `is_here` picks: one of each path at most.
fn fold_at(paths: &Paths, is_here: impl Fn(&Template, usize) -> bool) -> Paths {
    let place = |path: &Template| (0..path.0.len()).find(|at| is_here(path, *at));
    let mut siblings: BTreeMap<Parent<'_>, (&Piece, bool)> = BTreeMap::new();
    for path in paths.keys() {
        if let Some(at) = place(path) {
            let piece = &path.0[at].1;
            let (first, are_many) = siblings.entry(parent(path, at)).or_insert((piece, false));
            *are_many |= *first != piece;
        }
    }
    let mut folded = Paths::new();
    for (path, count) in paths {
        let mut new = path.clone();
        if let Some(at) = place(path)
            && siblings.get(&parent(path, at)).is_some_and(|(_, are_many)| *are_many)
        {
            new.0[at].1 = if is_rest(&path.0[at].1) { Piece::Rest(Box::default()) } else { Piece::Any };
        }
        put(&mut folded, new, *count);
    }
    folded
}

fn is_rest(piece: &Piece) -> bool {
    matches!(piece, Piece::Rest(_))
}

/// How many first segments there are. Paths are sorted, so that those of one stand together.
fn first_pieces(paths: &Paths) -> usize {
    let mut last = None;
    paths.keys().map(|path| path.0.first()).filter(|first| last.replace(*first) != Some(*first)).count()
}

/// What differs in more than can be folded: paths of many lengths below one first segment.
fn fold_below_first_pieces(paths: Paths) -> Paths {
    let mut folded = Paths::new();
    let mut paths = paths.into_iter().peekable();
    while let Some(path) = paths.next() {
        let first = path.0.0.first().cloned();
        let mut together = vec![path];
        while let Some(path) = paths.next_if(|(path, _)| path.0.first() == first.as_ref()) {
            together.push(path);
        }
        let parent = Template(first.into_iter().collect());
        // A path that is one segment is not below it.
        let below = together.iter().filter(|(path, _)| path.0.len() > 1).count();
        for (path, count) in together {
            let path = if below > KEPT && path.0.len() > 1 { all_below(&parent, &path) } else { path };
            put(&mut folded, path, count);
        }
    }
    folded
}

/// Everything below `parent` in place of all paths.
fn all_as(paths: Paths, parent: &Template) -> Paths {
    let mut folded = Paths::new();
    for (path, count) in paths {
        put(&mut folded, all_below(parent, &path), count);
    }
    folded
}

/// Everything below `parent`, where `path` is. An encoded slash is read as a character too, so what has one right behind the
/// parent is below it in another way.
fn all_below(parent: &Template, path: &Template) -> Template {
    let separator = path.0.get(parent.0.len()).map_or(Separator::Slash, |(separator, _)| *separator);
    let mut all = parent.clone();
    all.0.push((separator, Piece::Rest(Box::default())));
    all
}

#[cfg(test)]
mod tests {
    use sandgate_policy::glob::Glob;

    use super::*;

    fn folded(paths: &[String]) -> Vec<String> {
        let once = Count { requests: 1, paths: 1 };
        let paths: Paths = paths.iter().map(|path| (Template::of(path).unwrap(), once)).collect();
        let total: u64 = paths.len() as u64;
        let folded = fold(paths);
        assert_eq!(folded.values().map(|count| count.paths).sum::<u64>(), total);
        folded.keys().map(ToString::to_string).collect()
    }

    fn many(count: usize, path: impl Fn(usize) -> String) -> Vec<String> {
        // Letters, as digits would be ids.
        (0..count).map(path).collect()
    }

    fn name(number: usize) -> String {
        format!("n{}", char::from(b'a' + u8::try_from(number).unwrap()))
    }

    #[test]
    fn eight_paths_are_kept_whole_and_nine_are_folded() {
        let of = |count| folded(&many(count, |number| format!("/v1/{}", name(number))));
        assert_eq!(of(8).len(), 8);
        assert_eq!(of(8)[0], "/v1/na");
        assert_eq!(of(9), ["/v1/*"]);
    }

    #[test]
    fn siblings_fold_and_what_stands_alone_stays() {
        let mut paths = many(8, |number| format!("/v1/{}", name(number)));
        paths.extend(["/zen".to_owned(), "/v2/alone".to_owned()]);
        assert_eq!(folded(&paths), ["/v1/*", "/v2/alone", "/zen"]);
    }

    #[test]
    fn directories_fold_where_their_contents_do_not() {
        let paths = many(20, |number| format!("/simple/{}/", name(number)));
        assert_eq!(folded(&paths), ["/simple/*/"]);
        let paths = many(20, |number| format!("/a/{}/{}", name(number), name(number + 1)));
        assert_eq!(folded(&paths), ["/a/*/*"]);
        let paths = many(20, |number| format!("/a/{}/x/{}/y", name(number), name(number + 1)));
        assert_eq!(folded(&paths), ["/a/*/x/*/y"]);
    }

    #[test]
    fn packages_of_a_scope_fold_behind_the_encoded_slash() {
        let paths = many(9, |number| format!("/@scope%2f{}", name(number)));
        assert_eq!(folded(&paths), ["/@scope%2F*"]);
    }

    #[test]
    fn names_at_the_root_fold_to_one_segment() {
        assert_eq!(folded(&many(20, |number| format!("/{}", name(number)))), ["/*"]);
    }

    #[test]
    fn everything_is_allowed_only_past_eight_first_segments() {
        let of = |count| folded(&many(count, |number| format!("/{}/x", name(number))));
        assert_eq!(of(8).len(), 8);
        assert_eq!(of(9), ["/**"]);
        let mut eight: Vec<_> =
            (0..8).flat_map(|first| many(20, move |second| format!("/{}/{}/x", name(first), name(second)))).collect();
        assert_eq!(folded(&eight).len(), 8);
        eight.push("/more/x".to_owned());
        assert_eq!(folded(&eight), ["/**"]);
    }

    #[test]
    fn paths_of_many_lengths_fold_below_their_first_segment() {
        let paths = many(20, |number| format!("/a{}", "/x".repeat(number)));
        assert_eq!(folded(&paths), ["/a", "/a/**"]);
    }

    #[test]
    fn paths_without_end_are_folded_soon() {
        // The worst for siblings: all differ at every depth.
        let name = |number: usize| format!("/{}", char::from(b'a' + u8::try_from(number % 26).unwrap()));
        let paths = many(256, |number| {
            format!("/x{}", (0..400).map(|at| name(number / (at % 7 + 1) + at)).collect::<String>())
        });
        let begun = std::time::Instant::now();
        assert!(folded(&paths).len() <= KEPT);
        assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
    }

    #[test]
    fn folding_makes_no_more_wildcards_than_a_glob_has() {
        let paths = many(9, |number| format!("/7{}", format!("/{}", name(number)).repeat(20)));
        assert_eq!(folded(&paths), [format!("{}/**", "/*".repeat(12))]);
        Glob::parse(&folded(&paths)[0]).unwrap();
    }

    #[test]
    fn what_is_open_at_its_end_stays_so() {
        let once = Count { requests: 1, paths: 1 };
        let logged =
            |number| format!("/a/{}/{}", name(number), "abc/".repeat(80)).chars().take(256).collect::<String>();
        let paths: Paths = (0..9).map(|number| (Template::of_logged(&logged(number)).unwrap(), once)).collect();
        let folded: Vec<_> = fold(paths).keys().map(ToString::to_string).collect();
        assert!(folded.len() == 1 && folded[0].starts_with("/a/*/abc/") && folded[0].ends_with("**"), "{folded:?}");
    }
}
