//! Plots as SVG files.

use std::{fs, ops::Range, path::Path};

use anyhow::{Context, Result, anyhow, ensure};
use plotters::{
    chart::{ChartBuilder, SeriesLabelPosition},
    drawing::IntoDrawingArea,
    element::{Circle, PathElement},
    prelude::SVGBackend,
    series::LineSeries,
    style::{BLACK, Color, Palette, Palette99, WHITE},
};

use super::{Axis, Plot, Series};

const SIZE: (u32, u32) = (900, 500);
/// How much of an axis is left free at either end, as a share.
const MARGIN: f64 = 0.05;

/// Draws a plot into an SVG file.
///
/// # Errors
/// It has no points or such that its axes cannot show, or the file cannot be written.
pub fn draw(plot: &Plot, path: &Path) -> Result<()> {
    let text = svg(plot).with_context(|| format!("drawing the plot {}", plot.name))?;
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

/// The plot as SVG. Where an axis is logarithmic, it is drawn over the logarithms.
fn svg(plot: &Plot) -> Result<String> {
    let [x, y] = &plot.axes;
    let placed = plot
        .series
        .iter()
        .map(|series| Ok((&*series.name, points(series, x, y)?)))
        .collect::<Result<Vec<(&str, Vec<(f64, f64)>)>>>()?;
    let all = || placed.iter().flat_map(|(_, points)| points);
    let xs = range(all().map(|point| point.0))?;
    let mut ys = range(all().map(|point| point.1))?;
    if !y.logarithmic {
        // Lengths can be compared only from zero.
        ys.start = ys.start.min(0.0);
    }
    let mut text = String::new();
    chart(&mut text, plot, &placed, (xs, ys)).map_err(|error| anyhow!("{error}"))?;
    Ok(text)
}

type Failure = Box<dyn std::error::Error>;

fn chart(
    text: &mut String,
    plot: &Plot,
    placed: &[(&str, Vec<(f64, f64)>)],
    (xs, ys): (Range<f64>, Range<f64>),
) -> Result<(), Failure> {
    let area = SVGBackend::with_string(text, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut builder = ChartBuilder::on(&area);
    builder.caption(&plot.title, ("sans-serif", 20)).margin(12).x_label_area_size(45).y_label_area_size(70);
    let mut chart = builder.build_cartesian_2d(xs, ys)?;
    let [x, y] = &plot.axes;
    chart
        .configure_mesh()
        .x_desc(&*x.label)
        .y_desc(&*y.label)
        .x_label_formatter(&|value| label(*value, x.logarithmic))
        .y_label_formatter(&|value| label(*value, y.logarithmic))
        .light_line_style(WHITE)
        .draw()?;
    for (number, (name, points)) in placed.iter().enumerate() {
        let style = Palette99::pick(number).stroke_width(2);
        let line = LineSeries::new(points.iter().copied(), style);
        chart
            .draw_series(line)?
            .label(*name)
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], style));
        chart.draw_series(points.iter().map(|point| Circle::new(*point, 3, style.filled())))?;
    }
    let mut legend = chart.configure_series_labels();
    legend.position(SeriesLabelPosition::UpperLeft).background_style(WHITE.mix(0.8)).border_style(BLACK);
    legend.draw()?;
    area.present()?;
    Ok(())
}

fn points(series: &Series, x: &Axis, y: &Axis) -> Result<Vec<(f64, f64)>> {
    let points = series.points.iter().map(|point| Ok((place(point.0, x)?, place(point.1, y)?)));
    points.collect::<Result<_>>().with_context(|| format!("the line {:?}", series.name))
}

/// Where a value is on its axis.
fn place(value: f64, axis: &Axis) -> Result<f64> {
    let place = if axis.logarithmic { value.log10() } else { value };
    ensure!(place.is_finite(), "{value} cannot be shown on the axis {:?}", axis.label);
    Ok(place)
}

/// From the least to the greatest, with a margin.
fn range(values: impl Iterator<Item = f64>) -> Result<Range<f64>> {
    let (low, high) = values
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    ensure!(low.is_finite() && high.is_finite(), "there are no points");
    let margin = if high > low { (high - low) * MARGIN } else { 1.0 };
    Ok(low - margin..high + margin)
}

/// A number at an axis: in short, and of a logarithm the number itself.
fn label(place: f64, logarithmic: bool) -> String {
    let value = if logarithmic { 10_f64.powf(place) } else { place };
    let (value, unit) = match value.abs() {
        size if size >= 1e9 => (value / 1e9, "G"),
        size if size >= 1e6 => (value / 1e6, "M"),
        size if size >= 1e3 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    // Three digits, as far as they say something.
    let digits = if value.abs() >= 100.0 {
        0
    } else if value.abs() >= 10.0 {
        1
    } else {
        2
    };
    let text = format!("{value:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(logarithmic: bool, points: Vec<(f64, f64)>) -> Plot {
        let axis = |label: &str| Axis { label: label.to_owned(), logarithmic };
        Plot {
            name: "cost".to_owned(),
            title: "Cost of a lookup".to_owned(),
            axes: [axis("prefixes"), axis("ns")],
            series: vec![Series { name: "LPM trie".to_owned(), points }],
        }
    }

    #[test]
    fn a_drawing_has_its_title_axes_and_lines() {
        for logarithmic in [false, true] {
            let text = svg(&plot(logarithmic, vec![(1.0, 23.0), (1e6, 1635.0)])).unwrap();
            for part in ["<svg", "Cost of a lookup", "prefixes", "LPM trie", "<polyline", "<circle"] {
                assert!(text.contains(part), "{part} is not in {text}");
            }
        }
    }

    #[test]
    fn what_cannot_be_drawn_is_an_error() {
        let error = format!("{:#}", svg(&plot(true, vec![(0.0, 1.0)])).unwrap_err());
        assert!(error.contains("LPM trie") && error.contains("prefixes"), "{error}");
        assert!(svg(&plot(false, Vec::new())).is_err());
        assert!(svg(&plot(false, vec![(1.0, f64::NAN)])).is_err());
    }

    #[test]
    fn numbers_at_axes_are_short() {
        for (place, logarithmic, text) in [
            (0.0, false, "0"),
            (1500.0, false, "1.5k"),
            (6.0, true, "1M"),
            (-1.0, true, "0.1"),
            (230.0, false, "230"),
        ] {
            assert_eq!(label(place, logarithmic), text);
        }
    }
}
