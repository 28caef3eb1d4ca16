//! What was measured, and what it says: medians, their spread, and how Sandgate stands to the best of its peers.

use std::collections::BTreeMap;

use crate::column::Column;
use crate::measure::Figures;
use crate::peer::Product;

/// All figures so far.
#[derive(Default)]
pub(crate) struct Results {
    figures: BTreeMap<(Column, Product), Vec<f64>>,
    reasons: BTreeMap<(Column, Product), String>,
}

/// What was not measured, though it was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gap<'a> {
    pub(crate) column: Column,
    pub(crate) product: Product,
    /// Why, the first time.
    pub(crate) reason: &'a str,
    /// The rounds that have a figure all the same.
    pub(crate) measured: usize,
}

/// Several figures of one thing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sample {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Sample {
    fn of(figures: &[f64]) -> Option<Self> {
        let mut sorted = figures.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (least, most) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 };
        Some(Self { median, least, most })
    }

    /// How far the figures are from their median, as a part of it.
    fn spread(self) -> f64 {
        (self.most - self.median).max(self.median - self.least) / self.median
    }
}

/// Sandgate beside the best of its peers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Comparison {
    /// The best peer.
    pub(crate) best: Product,
    /// Sandgate's median as a part of that one's.
    pub(crate) ratio: f64,
    /// Whether the difference is within what two copies of one program differ by.
    pub(crate) is_noise: bool,
}

impl Results {
    /// Takes the figures of one measurement.
    pub(crate) fn add(&mut self, product: Product, figures: Figures) {
        for (column, figure) in figures {
            self.figures.entry((column, product)).or_default().push(figure);
        }
    }

    /// A product that could not be measured so, and why.
    pub(crate) fn fail(&mut self, product: Product, column: Column, reason: String) {
        self.reasons.entry((column, product)).or_insert(reason);
    }

    /// Whether it was given up: it failed before there was a figure.
    pub(crate) fn has_given_up(&self, product: Product, column: Column) -> bool {
        self.reasons.contains_key(&(column, product)) && self.measured(product, column) == 0
    }

    /// What failed.
    pub(crate) fn gaps(&self) -> impl Iterator<Item = Gap<'_>> {
        self.reasons.iter().map(|((column, product), reason)| {
            let (column, product) = (*column, *product);
            Gap { column, product, reason, measured: self.measured(product, column) }
        })
    }

    fn measured(&self, product: Product, column: Column) -> usize {
        self.figures.get(&(column, product)).map_or(0, Vec::len)
    }

    /// What was measured of a product.
    pub(crate) fn sample(&self, column: Column, product: Product) -> Option<Sample> {
        Sample::of(self.figures.get(&(column, product))?)
    }

    /// The best peer's median.
    pub(crate) fn best(&self, column: Column) -> Option<(Product, f64)> {
        if !column.is_compared() {
            return None;
        }
        let peers = Product::ALL.into_iter().filter(|product| product.is_peer());
        let medians = peers.filter_map(|product| Some((product, self.sample(column, product)?.median)));
        let order = |a: &(Product, f64), b: &(Product, f64)| a.1.total_cmp(&b.1);
        if column.is_better_high() { medians.max_by(order) } else { medians.min_by(order) }
    }

    /// How Sandgate stands to the best of its peers.
    pub(crate) fn comparison(&self, column: Column) -> Option<Comparison> {
        let ours = self.sample(column, Product::Sandgate)?;
        let (best, median) = self.best(column)?;
        let ratio = ours.median / median;
        Some(Comparison { best, ratio, is_noise: (ratio - 1.0).abs() <= self.noise(column) })
    }

    /// By how much two copies of one program differ, as a part: the larger of what their medians differ by, and what the
    /// second one's figures differ by from their median.
    fn noise(&self, column: Column) -> f64 {
        let copies = [Product::Hudsucker, Product::Control].map(|product| self.sample(column, product));
        let [Some(first), Some(second)] = copies else { return 0.0 };
        (second.median / first.median - 1.0).abs().max(second.spread())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(figures: &[(Product, &[f64])]) -> Results {
        let mut results = Results::default();
        for (product, figures) in figures {
            figures.iter().for_each(|figure| results.add(*product, vec![(Column::Handshake, *figure)]));
        }
        results
    }

    #[test]
    fn the_best_peer_is_neither_sandgate_nor_the_control() {
        let results = results(&[
            (Product::Sandgate, &[75.0]),
            (Product::Hudsucker, &[100.0, 90.0, 200.0]),
            (Product::Control, &[80.0]),
            (Product::Squid, &[300.0]),
        ]);
        let comparison = results.comparison(Column::Handshake).expect("both were measured");
        assert_eq!((comparison.best, comparison.ratio), (Product::Hudsucker, 0.75));
    }

    #[test]
    fn a_difference_within_what_the_copies_differ_by_is_noise() {
        let copies: [(Product, &[f64]); 2] =
            [(Product::Hudsucker, &[100.0]), (Product::Control, &[95.0, 100.0, 110.0])];
        for (ours, is_noise) in [(91.0, true), (109.0, true), (89.0, false), (112.0, false)] {
            let ours = [ours];
            let figures = [&copies[..], &[(Product::Sandgate, &ours[..])]].concat();
            assert_eq!(results(&figures).comparison(Column::Handshake).map(|found| found.is_noise), Some(is_noise));
        }
    }

    #[test]
    fn how_busy_cores_are_is_not_compared() {
        let mut results = Results::default();
        for product in [Product::Sandgate, Product::Hudsucker] {
            results.add(product, vec![(Column::RateBusy(1), 98.0)]);
        }
        assert_eq!(results.comparison(Column::RateBusy(1)), None);
    }

    #[test]
    fn what_fails_is_given_up_unless_it_has_been_measured() {
        let (column, mut results) = (Column::Handshake, results(&[(Product::Squid, &[1.0, 2.0])]));
        for product in [Product::Squid, Product::Envoy] {
            results.fail(product, column, "reset".to_owned());
            results.fail(product, column, "refused".to_owned());
        }
        assert!(results.has_given_up(Product::Envoy, column) && !results.has_given_up(Product::Squid, column));
        let gap = |product, measured| Gap { column, product, reason: "reset", measured };
        assert_eq!(results.gaps().collect::<Vec<_>>(), [gap(Product::Squid, 2), gap(Product::Envoy, 0)]);
    }

    #[test]
    fn an_even_number_of_figures_has_its_median_between_two() {
        assert_eq!(Sample::of(&[4.0, 1.0, 2.0, 3.0]), Some(Sample { median: 2.5, least: 1.0, most: 4.0 }));
        assert_eq!(Sample::of(&[]), None);
    }
}
