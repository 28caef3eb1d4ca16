//! What is measured, of whom and how often: everything, unless somebody looks at one thing again and again.

use anyhow::{anyhow, bail, ensure};

use crate::column::Column;
use crate::peer::Product;

/// How often everything is measured, unless `ROUNDS` says otherwise.
const ROUNDS: usize = 5;
/// More are days.
const MAX_ROUNDS: usize = 99;

/// What somebody asked for.
pub(crate) struct Choice {
    /// How often everything is measured.
    pub(crate) rounds: usize,
    /// Whether the page of the documentation is written anew.
    pub(crate) updates_docs: bool,
    only: Option<String>,
    products: Option<Vec<Product>>,
}

impl Choice {
    /// Reads variables, of which an empty one is as one that is not there. `ROUNDS` is a number, `ONLY` what names of columns
    /// contain, `PEERS` words of names of proxies; `UPDATE_DOCS=1` asks for the page, which is of everything and of no
    /// other `SANDGATE`.
    pub(crate) fn read(variable: impl Fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        let value = |name| variable(name).filter(|value| !value.is_empty());
        let rounds = value("ROUNDS").map_or(Ok(ROUNDS), |rounds| count(&rounds))?;
        let only = value("ONLY");
        let products = value("PEERS").map(|words| named(&words)).transpose()?;
        let updates_docs = match value("UPDATE_DOCS").as_deref() {
            Some("1") => true,
            None | Some("0") => false,
            Some(other) => bail!("UPDATE_DOCS={other}: 1 writes docs/performance.md anew, 0 or nothing does not"),
        };
        if updates_docs {
            for name in ["ONLY", "PEERS", "SANDGATE"] {
                ensure!(
                    value(name).is_none(),
                    "UPDATE_DOCS=1 with {name}: docs/performance.md is of everything that is measured here, of this build"
                );
            }
        }
        let choice = Self { rounds, updates_docs, only, products };
        ensure!(
            Column::ALL.into_iter().any(|column| choice.has(column)),
            "ONLY={}: in no name of a column; these are:\n{}",
            choice.only.unwrap_or_default(),
            Column::ALL.map(|column| format!("  {column}")).join("\n")
        );
        Ok(choice)
    }

    /// Whether everything is measured.
    pub(crate) fn is_whole(&self) -> bool {
        self.only.is_none() && self.products.is_none()
    }

    /// Whether a measurement takes place, which is known by its first column: any of its columns asks for it.
    pub(crate) fn has(&self, first: Column) -> bool {
        let mut columns = Column::ALL.into_iter().filter(|column| column.measured_with() == first);
        self.only.as_ref().is_none_or(|part| columns.any(|column| column.to_string().contains(part)))
    }

    /// The proxies that are measured, of those that are installed.
    pub(crate) fn products(&self, is_installed: impl Fn(Product) -> bool) -> anyhow::Result<Vec<Product>> {
        let Some(products) = &self.products else {
            return Ok(Product::ALL.into_iter().filter(|product| is_installed(*product)).collect());
        };
        let missing = products.iter().find(|product| !is_installed(**product));
        missing.map_or_else(|| Ok(products.clone()), |product| Err(anyhow!("PEERS: {product} is not installed here")))
    }
}

fn count(text: &str) -> anyhow::Result<usize> {
    let count = text.parse().ok().filter(|rounds| (1..=MAX_ROUNDS).contains(rounds));
    count.ok_or_else(|| anyhow!("ROUNDS={text}: a whole number from 1 to {MAX_ROUNDS}"))
}

/// The proxies with one of these words in their names.
fn named(words: &str) -> anyhow::Result<Vec<Product>> {
    let words: Vec<_> = split(words).collect();
    let has = |product: &Product, word: &str| split(&product.to_string()).any(|own| own.eq_ignore_ascii_case(word));
    if let Some(word) = words.iter().find(|word| !Product::ALL.iter().any(|product| has(product, word))) {
        bail!(
            "PEERS: no proxy has {word} as a word of its name; these are: {}",
            Product::ALL.map(|product| product.to_string()).join("; ")
        );
    }
    Ok(Product::ALL.into_iter().filter(|product| words.iter().any(|word| has(product, word))).collect())
}

fn split(words: &str) -> impl Iterator<Item = &str> {
    words.split([' ', ',', ';']).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> anyhow::Result<Choice> {
        Choice::read(|name| {
            let found = variables.iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn refusal(variables: &[(&str, &str)]) -> String {
        read(variables).map(|_| ()).expect_err("it should be refused").to_string()
    }

    #[test]
    fn any_column_of_a_measurement_asks_for_it() {
        for (only, first) in [
            ("new host, p99", Column::NewHost),
            ("60 s after", Column::MemoryAtStart),
            ("in load", Column::MemoryAtStart),
            ("cores busy, 2", Column::Rate(2)),
            ("p99 of those, 1", Column::Rate(1)),
            ("refused", Column::Refusal),
        ] {
            let choice = read(&[("ONLY", only)]).expect("it is in a name");
            let first_columns = Column::ALL.into_iter().filter(|column| column.measured_with() == *column);
            let measured: Vec<_> = first_columns.filter(|column| choice.has(*column)).collect();
            assert_eq!(measured, [first], "{only}");
        }
    }

    #[test]
    fn what_fits_nothing_is_named() {
        for (name, value) in [("ONLY", "tea"), ("PEERS", "tea"), ("ROUNDS", "tea"), ("UPDATE_DOCS", "tea")] {
            let refusal = refusal(&[(name, value)]);
            assert!(refusal.contains(name) && refusal.contains("tea"), "{refusal}");
        }
        let refusal = refusal(&[("PEERS", "Sandgate Squid hudsuker")]);
        assert!(refusal.contains("hudsuker") && refusal.contains("hudsucker again; "), "{refusal}");
    }

    #[test]
    fn rounds_are_from_one_to_ninety_nine() {
        for (text, rounds) in [("1", 1), ("99", 99), ("", ROUNDS)] {
            assert_eq!(read(&[("ROUNDS", text)]).expect("a number").rounds, rounds);
        }
        for text in ["0", "100", "-1", "1.5", "99999999999999999999999"] {
            assert_eq!(refusal(&[("ROUNDS", text)]), format!("ROUNDS={text}: a whole number from 1 to 99"));
        }
    }

    #[test]
    fn a_word_chooses_every_proxy_with_it_in_its_name() {
        let chosen = |words| read(&[("PEERS", words)]).and_then(|choice| choice.products(|_| true));
        let hudsuckers = [Product::Hudsucker, Product::Control, Product::HudsuckerMimalloc];
        assert_eq!(chosen("hudsucker").expect("names"), hudsuckers);
        assert_eq!(
            chosen("tunnel, again sandgate").expect("names"),
            [Product::Sandgate, Product::Control, Product::Tunnel]
        );
    }

    #[test]
    fn a_proxy_that_is_not_installed_is_left_out_unless_it_is_asked_for() {
        let is_installed = |product| product != Product::Squid;
        let everything = read(&[]).and_then(|choice| choice.products(is_installed)).expect("nobody asked for it");
        assert_eq!(everything.len(), Product::ALL.len() - 1);
        let asked = read(&[("PEERS", "Sandgate Squid")]).and_then(|choice| choice.products(is_installed));
        assert_eq!(asked.expect_err("it is missing").to_string(), "PEERS: Squid is not installed here");
    }

    #[test]
    fn the_page_is_of_everything() {
        assert!(read(&[("UPDATE_DOCS", "1"), ("ONLY", "")]).expect("everything").updates_docs);
        for value in ["", "0"] {
            assert!(!read(&[("UPDATE_DOCS", value), ("ONLY", "GB")]).expect("no page").updates_docs);
        }
        for (name, value) in [("ONLY", "GB"), ("PEERS", "Squid"), ("SANDGATE", "/usr/bin/true")] {
            assert!(refusal(&[("UPDATE_DOCS", "1"), (name, value)]).contains(name));
        }
    }
}
