//! The picture: each figure as a part of the best peer's, a row of bars for each column.

use std::fmt::Write as _;

use crate::column::Column;
use crate::peer::Product;
use crate::results::Results;

const LABELS: usize = 300;
/// Pixels of a bar that is as long as the best peer's figure.
const ONE: f64 = 130.0;
/// Bars end here, and say how much longer they would be.
const LONGEST: f64 = 4.0;
const BAR: usize = 11;
const GAP: usize = 12;
const TOP: usize = 60;
/// Pixels of a name in the legend, with its colour.
const NAME: usize = 130;
const MARGIN: usize = 10;

fn colour(product: Product) -> &'static str {
    match product {
        Product::Sandgate => "#1b6e3c",
        Product::Hudsucker => "#5b7fb4",
        Product::Control => "#a9bfdd",
        Product::HudsuckerMimalloc => "#3e5c85",
        Product::Squid => "#c98b3d",
        Product::Envoy => "#8d6bb0",
        Product::Mitmproxy => "#b5606b",
        Product::Tunnel => "#999999",
    }
}

/// The picture as SVG. Only columns with a target are in it.
pub(crate) fn draw(products: &[Product], results: &Results) -> String {
    let mut rows = String::new();
    let mut top = TOP;
    for column in Column::ALL.into_iter().filter(|column| column.target().is_some()) {
        let Some((_, best)) = results.best(column) else { continue };
        let bars: Vec<_> = products
            .iter()
            .filter_map(|product| Some((*product, results.sample(column, *product)?.median / best)))
            .collect();
        let middle = top + bars.len() * BAR / 2 + 4;
        // Infallible, here and below: a string has room.
        let _ = writeln!(rows, r#"<text x="{}" y="{middle}" text-anchor="end">{column}</text>"#, LABELS - 10);
        let height = bars.len() * BAR;
        if let Some(target) = column.target() {
            let x = LABELS as f64 + target * ONE;
            let _ = writeln!(
                rows,
                r##"<path d="M{x:.0} {} v{}" stroke="#333" stroke-dasharray="3 2"/>"##,
                top - 2,
                height + 4
            );
        }
        for (product, ratio) in bars {
            let (length, colour) = (ratio.min(LONGEST) * ONE, colour(product));
            let _ = writeln!(
                rows,
                r#"<rect x="{LABELS}" y="{top}" width="{length:.0}" height="{}" fill="{colour}"/>"#,
                BAR - 1
            );
            let x = LABELS as f64 + length + 4.0;
            let _ = writeln!(rows, r#"<text x="{x:.0}" y="{}" class="small">{ratio:.2}</text>"#, top + BAR - 2);
            top += BAR;
        }
        top += GAP;
    }
    let width = (LABELS as f64 + LONGEST * ONE + 60.0).max((MARGIN + products.len() * NAME) as f64);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {top}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <style>.small {{ font-size: 9px }}</style>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"10\" y=\"20\" font-size=\"14\">As a part of the best peer's: shorter is better; the dashed line is the target</text>\n\
         {}{rows}</svg>\n",
        legend(products)
    )
}

fn legend(products: &[Product]) -> String {
    let mut legend = String::new();
    for (place, product) in products.iter().enumerate() {
        let x = MARGIN + place * NAME;
        let _ = writeln!(
            legend,
            r#"<rect x="{x}" y="32" width="10" height="10" fill="{}"/><text x="{}" y="41">{product}</text>"#,
            colour(*product),
            x + 14
        );
    }
    legend
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_names_of_the_legend_are_in_the_picture() {
        let picture = draw(&Product::ALL, &Results::default());
        let after = |text: &str, before: &str| {
            let number = text.split(before).nth(1).and_then(|rest| rest.split([' ', '"']).next());
            number.and_then(|number| number.parse::<usize>().ok()).expect("a number")
        };
        let last = picture.lines().find(|line| line.contains("a plain tunnel")).expect("the last name");
        assert!(after(last, r#"<rect x=""#) + NAME <= after(&picture, "viewBox=\"0 0 "), "{last}");
    }
}
