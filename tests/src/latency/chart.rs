//! Cumulative distributions as SVG and PNG: all of them from zero, and the ones around TLS closer.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use plotters::coord::Shift;
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};

use super::measure::Results;
use super::report::{self, Row};
use super::series::Series;
use super::settings::LatencyArgs;
use crate::Result;

/// In pixels of the PNG; twice those of the SVG.
const SIZE: (u32, u32) = (1_320, 540);
const PNG_SCALE: u32 = 2;
const FONT: &str = "sans-serif";
/// Paths of fonts that are fit for print.
const FONTS: [&str; 5] = [
    "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf",
    "/usr/share/fonts/dejavu-sans-fonts/DejaVuSans.ttf",
    "/usr/share/fonts/TTF/DejaVuSans.ttf",
    "/usr/share/fonts/truetype/liberation/LiberationSans-Regular.ttf",
    "/usr/share/fonts/liberation-sans/LiberationSans-Regular.ttf",
];
/// Points of a curve: more cannot be seen.
const POINTS: usize = 400;

/// Draws a chart of each setting; says what it has written, for the end of a list.
pub(super) fn draw_all(
    args: &LatencyArgs,
    results: &[Results],
    all: &[Vec<Row>],
) -> Result<String> {
    let Some(font) = font(args)? else {
        return Ok(" (no charts: no TrueType font was found; name one with --font FILE)".into());
    };
    // plotters keeps a font for ever.
    register_font(FONT, FontStyle::Normal, font.leak())
        .map_err(|_| "the font is not one that can be read: name another with --font FILE")?;
    let mut written = String::new();
    for (results, rows) in results.iter().zip(all) {
        let name = file_name(results);
        let (svg, png) = (format!("{name}.svg"), format!("{name}.png"));
        let path = args.out.join(&svg);
        draw(
            SVGBackend::new(&path, SIZE).into_drawing_area(),
            1,
            results,
            rows,
        )?;
        let path = args.out.join(&png);
        let size = (SIZE.0 * PNG_SCALE, SIZE.1 * PNG_SCALE);
        draw(
            BitMapBackend::new(&path, size).into_drawing_area(),
            PNG_SCALE,
            results,
            rows,
        )?;
        written.push_str(&format!(", {svg}, {png}"));
    }
    Ok(written)
}

fn file_name(results: &Results) -> String {
    let setting = &results.setting;
    match results.measured[0].is_empty() {
        true => "latency-loopback".to_owned(),
        false => format!(
            "latency-{}ms-x{}",
            setting.round_trip.as_secs_f64() * 1e3,
            setting.side_ratio
        ),
    }
}

fn font(args: &LatencyArgs) -> Result<Option<Vec<u8>>> {
    if let Some(file) = &args.font {
        let read = fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
        return Ok(Some(read));
    }
    let known = FONTS.iter().map(PathBuf::from).find(|path| path.exists());
    let found = known.or_else(|| any_font(Path::new("/usr/share/fonts"), 4));
    Ok(found.map(fs::read).transpose()?)
}

/// The first of this folder and those in it.
fn any_font(folder: &Path, depth: u32) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?;
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    paths.sort();
    let is_font = |path: &&PathBuf| path.extension().is_some_and(|e| e == "ttf");
    let here = paths.iter().find(is_font).cloned();
    here.or_else(|| {
        let deeper = depth.checked_sub(1)?;
        paths.iter().find_map(|path| any_font(path, deeper))
    })
}

fn draw<DB>(area: DrawingArea<DB, Shift>, scale: u32, results: &Results, rows: &[Row]) -> Result
where
    DB: DrawingBackend,
    DB::ErrorType: Send + Sync + 'static,
{
    let scale = f64::from(scale);
    area.fill(&WHITE)?;
    let title = format!(
        "Time until the application may send: {}",
        report::title(results)
    );
    let area = area.margin((6.0 * scale) as u32, 0, 0, 0);
    let area = area.titled(&title, (FONT, 17.0 * scale))?;
    let (panels, names) = area.split_horizontally((SIZE.0 as f64 * 0.72 * scale) as u32);
    let (left, right) = panels.split_horizontally((SIZE.0 as f64 * 0.33 * scale) as u32);
    let zero_up = 0.0..longest(rows) * 1.02;
    panel(&left, scale, rows, zero_up, "ms")?;
    let zoom = around_tls(rows);
    panel(&right, scale, rows, zoom, "ms, the same closer")?;
    legend(&names, scale, rows)?;
    area.present()?;
    Ok(())
}

/// The 99th percentile of the slowest.
fn longest(rows: &[Row]) -> f64 {
    let ends = rows.iter().map(|row| row.times.quantile(0.98));
    ends.fold(f64::MIN_POSITIVE, f64::max)
}

/// The element for the series that take as many round trips as TLS does.
fn around_tls(rows: &[Row]) -> Range<f64> {
    let tls = rows.iter().find(|row| row.series == Series::Tls);
    let tls = tls.map_or(f64::NAN, |row| row.times.median());
    let near = |row: &&Row| (0.8..1.3).contains(&(row.times.median() / tls));
    let near: Vec<&Row> = rows.iter().filter(near).collect();
    let ends = |part: f64| near.iter().map(move |row| row.times.quantile(part));
    let low = ends(0.02).fold(f64::INFINITY, f64::min);
    let high = ends(0.95).fold(f64::NEG_INFINITY, f64::max);
    let margin = ((high - low) * 0.05).max(tls * 1e-4);
    low - margin..high + margin
}

fn panel<DB>(
    area: &DrawingArea<DB, Shift>,
    scale: f64,
    rows: &[Row],
    range: Range<f64>,
    unit: &str,
) -> Result
where
    DB: DrawingBackend,
    DB::ErrorType: Send + Sync + 'static,
{
    let px = |pixels: f64| (pixels * scale) as u32;
    let mut chart = ChartBuilder::on(area)
        .margin(px(8.0))
        .x_label_area_size(px(42.0))
        .y_label_area_size(px(48.0))
        .build_cartesian_2d(range.clone(), 0.0..1.0)?;
    let digits = if range.end - range.start < 1.0 { 2 } else { 0 };
    let digits = if (1.0..10.0).contains(&(range.end - range.start)) {
        1
    } else {
        digits
    };
    chart
        .configure_mesh()
        .x_labels(7)
        .y_labels(6)
        .x_label_formatter(&|x| format!("{x:.digits$}"))
        .y_label_formatter(&|y| format!("{y:.1}"))
        .x_desc(unit)
        .y_desc("part of the connections")
        .label_style((FONT, 13.0 * scale))
        .axis_desc_style((FONT, 14.0 * scale))
        .light_line_style(TRANSPARENT)
        .bold_line_style(RGBColor(225, 225, 225).stroke_width(px(1.0)))
        .draw()?;
    for row in rows {
        let points = curve(row, &range);
        let (color, dash) = look(row.series);
        let style = color.stroke_width(px(2.0));
        match dash {
            None => chart.draw_series(LineSeries::new(points, style))?,
            Some((on, off)) => {
                let dashed = DashedLineSeries::new(points, px(on), px(off), style);
                chart.draw_series(dashed)?
            }
        };
    }
    Ok(())
}

/// The points of a cumulative distribution that lie in the range.
fn curve(row: &Row, range: &Range<f64>) -> Vec<(f64, f64)> {
    let parts = (0..=POINTS).map(|point| point as f64 / POINTS as f64);
    let points = parts.map(|part| (row.times.quantile(part), part));
    points.filter(|(time, _)| range.contains(time)).collect()
}

/// The names in the order of the medians, which is that of the curves from left to right.
fn legend<DB>(area: &DrawingArea<DB, Shift>, scale: f64, rows: &[Row]) -> Result
where
    DB: DrawingBackend,
    DB::ErrorType: Send + Sync + 'static,
{
    let px = |pixels: f64| (pixels * scale) as i32;
    let text = |size: f64| (FONT, size * scale).into_font().color(&BLACK);
    let mut rows: Vec<&Row> = rows.iter().collect();
    rows.sort_by(|one, other| one.times.median().total_cmp(&other.times.median()));
    let (name, median, ratio) = (px(44.0), px(248.0), px(320.0));
    // All names, the head above them, and the note below.
    let height = area.dim_in_pixel().1 as i32 - px(22.0) - px(30.0);
    let line_height = height / (rows.len() + 1) as i32;
    let mut y = px(22.0);
    for (x, head) in [(median, "median"), (ratio, "ratio")] {
        area.draw(&Text::new(head, (x, y), text(13.0)))?;
    }
    for row in rows {
        y += line_height;
        let (color, dash) = look(row.series);
        let style = color.stroke_width(px(2.5) as u32);
        let line = [(px(4.0), y + px(7.0)), (px(38.0), y + px(7.0))];
        match dash {
            None => area.draw(&PathElement::new(line.to_vec(), style))?,
            Some((on, off)) => {
                let (on, off) = (px(on), px(off));
                area.draw(&DashedPathElement::new(line, on, off, style))?
            }
        }
        let Row {
            series,
            times,
            ratio: compared,
            ..
        } = row;
        area.draw(&Text::new(series.title(), (name, y), text(14.0)))?;
        let time = format!("{:.2} ms", times.median());
        area.draw(&Text::new(time, (median, y), text(14.0)))?;
        if series.baseline() != *series {
            let value = format!("{:.3}", compared.value);
            area.draw(&Text::new(value, (ratio, y), text(14.0)))?;
        }
    }
    let note = "ratio of medians: to TLS 1.3; SMKEX: to the raw key; QUIC: to QUIC";
    area.draw(&Text::new(note, (px(4.0), y + line_height), text(12.0)))?;
    Ok(())
}

/// Colours that colour-blind people tell apart (Okabe and Ito), and dashes that tell those of one
/// colour apart in print.
fn look(series: Series) -> (RGBColor, Option<(f64, f64)>) {
    const BLUE: RGBColor = RGBColor(0, 114, 178);
    const SKY: RGBColor = RGBColor(86, 180, 233);
    const GREEN: RGBColor = RGBColor(0, 158, 115);
    const VERMILION: RGBColor = RGBColor(213, 94, 0);
    const PURPLE: RGBColor = RGBColor(204, 121, 167);
    const ORANGE: RGBColor = RGBColor(230, 159, 0);
    const YELLOW: RGBColor = RGBColor(240, 228, 66);
    const GREY: RGBColor = RGBColor(120, 120, 120);
    match series {
        Series::Tcp => (GREY, None),
        Series::NoiseNn => (BLACK, Some((2.0, 3.0))),
        Series::Tls => (BLACK, None),
        Series::RawKey => (SKY, None),
        Series::Smkex => (GREEN, None),
        Series::SmkexPooled => (GREEN, Some((7.0, 4.0))),
        Series::Fresh => (VERMILION, None),
        Series::FastOpen => (VERMILION, Some((2.0, 3.0))),
        Series::Pooled => (BLUE, Some((7.0, 4.0))),
        Series::Relays => (PURPLE, None),
        Series::Resumption => (ORANGE, None),
        Series::Prefetched => (ORANGE, Some((7.0, 4.0))),
        Series::Inherited => (ORANGE, Some((2.0, 3.0))),
        Series::Quic => (YELLOW, None),
        Series::QuicFresh => (YELLOW, Some((2.0, 3.0))),
        Series::QuicPooled => (YELLOW, Some((7.0, 4.0))),
        Series::SmkexInside => (SKY, Some((7.0, 4.0))),
        Series::SmkexJoined => (SKY, Some((2.0, 3.0))),
        Series::Inside => (PURPLE, Some((7.0, 4.0))),
    }
}
