//! A run as one page: its figures, and plots of its seconds. The page needs nothing from elsewhere.

use std::fmt::Write;

use super::plot::{Line, Plot};
use super::{Figure, Table, number};
use crate::contest::Missing;
use crate::timeline::{Moment, Percentiles};

const STYLE: &str = include_str!("report.css");
const SCRIPT: &str = include_str!("report.js");

/// The page.
pub fn page(table: &Table) -> String {
    let mut page = String::new();
    let title = escape(table.scenario);
    // Writing into a string does not fail.
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{title} · carillon-loadtest</title>\n<style>{STYLE}</style>\n\
         <header><h1>{title}</h1><p><code>{}</code></p><p>{} · {}</p></header>\n<main>\n",
        escape(&table.run.command),
        escape(&table.run.ended),
        escape(&table.run.machine),
    );
    page.push_str("<table>\n");
    table.figures.iter().for_each(|figure| row(&mut page, figure));
    page.push_str("</table>\n");
    for Missing { name, why } in &table.missing {
        let _ = writeln!(page, "<p><b>{}</b> {}</p>", escape(name), escape(why));
    }
    if let Some(search) = &table.search {
        let _ = writeln!(
            page,
            "<figure><figcaption><b>Acknowledged within</b> ms, 99 % of sends, over sends a second</figcaption>{}</figure>",
            search.svg()
        );
    }
    plots(&mut page, &table.moments);
    let _ = write!(page, "</main>\n<script>{SCRIPT}</script>\n</html>\n");
    page
}

fn row(page: &mut String, figure: &Figure) {
    let verdict = match figure.is_reached() {
        None => String::new(),
        Some(true) => format!("<span class=\"reached\">{}</span>", escape(figure.goal().trim())),
        Some(false) => format!("<span class=\"missed\">{}</span>", escape(figure.goal().trim())),
    };
    let is_detail = if figure.name.starts_with(' ') { " class=\"detail\"" } else { "" };
    let _ = writeln!(
        page,
        "<tr{is_detail}><th>{}</th><td class=\"value\">{}</td><td>{}</td><td>{verdict}</td></tr>",
        escape(figure.name.trim()),
        number(figure.value),
        escape(figure.unit)
    );
}

fn plots(page: &mut String, moments: &[Moment]) {
    let measured_from = moments.iter().take_while(|moment| !moment.is_measured).count();
    for plot in of_moments(moments) {
        if plot.is_empty() {
            continue;
        }
        let _ = write!(
            page,
            "<figure data-seconds=\"{}\"><figcaption><b>{}</b> {}",
            moments.len(),
            plot.title,
            plot.unit
        );
        for (index, line) in plot.lines.iter().enumerate() {
            let values: Vec<_> =
                line.values.iter().map(|value| value.map_or(String::new(), number)).collect();
            let _ = write!(
                page,
                " <span class=\"key k{index}\" data-values=\"{}\">{} <output></output></span>",
                values.join(" "),
                line.name
            );
        }
        let _ = writeln!(page, "</figcaption>{}</figure>", plot.svg(measured_from));
    }
}

fn of_moments(moments: &[Moment]) -> [Plot; 7] {
    let line = |name, value: &dyn Fn(&Moment) -> Option<f64>| Line {
        name,
        values: moments.iter().map(value).collect(),
    };
    // What never happened in a run is not what it is about.
    let count = |name, value: fn(&Moment) -> u64| {
        let is_counted = moments.iter().any(|moment| value(moment) > 0);
        line(name, &|moment| Some(value(moment) as f64).filter(|_| is_counted))
    };
    let latencies = |of: fn(&Moment) -> Percentiles| {
        let value = |share: fn(Percentiles) -> f64| {
            move |moment: &Moment| Some(share(of(moment))).filter(|value| *value > 0.0)
        };
        vec![
            line("99.9 %", &value(|of| of.p999)),
            line("99 %", &value(|of| of.p99)),
            line("half", &value(|of| of.p50)),
        ]
    };
    let plot = |title, unit, is_log, lines| Plot { title, unit, is_log, lines };
    let sends = vec![
        count("sends", |moment| moment.begun),
        count("acknowledged", |moment| moment.acknowledged),
        count("deliveries", |moment| moment.deliveries),
    ];
    let sessions = vec![count("begun", |moment| moment.opened), count("welcome", |moment| moment.welcome)];
    let memory = line("resident", &|moment| Some(moment.resident_bytes? as f64 / 1e6));
    let cores = line("cores", &|moment| moment.cores);
    let from_due = "ms from when it was due";
    let from_send = "ms from when the send was due";
    [
        plot("Sessions", "a second", false, sessions),
        plot("Welcome within", from_due, true, latencies(|moment| moment.welcomes_ms)),
        plot("Throughput", "a second", false, sends),
        plot("Acknowledged within", from_due, true, latencies(|moment| moment.acks_ms)),
        plot("Delivered within", from_send, true, latencies(|moment| moment.deliveries_ms)),
        plot("The gateway's memory", "MB resident", false, vec![memory]),
        plot("The gateway's processor", "cores busy", false, vec![cores]),
    ]
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
