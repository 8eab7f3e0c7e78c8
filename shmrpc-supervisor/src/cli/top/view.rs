//! State → characters. Fits itself into whatever terminal there is: columns that have no room go, the least
//! telling first.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Text},
    widgets::{Paragraph, Row, Table, TableState},
};
use shmrpc_web::{ServiceStatus, format};

use super::{
    frame::{Calls, ServiceRow},
    state::{Sort, State, clock},
};
use crate::cli::units::{self, NOTHING, memory, rate, time};

/// The columns of services.
pub(super) const HEADING: [&str; 10] =
    ["SERVICE", "STATUS", "WORKERS", "CALLS/S", "ERR/S", "P50", "P99", "WAIT", "CPU", "MEMORY"];
/// How each is sorted by.
const SORTS: [Option<Sort>; 10] = [
    Some(Sort::Name),
    Some(Sort::Status),
    Some(Sort::Workers),
    Some(Sort::Calls),
    Some(Sort::Errors),
    None,
    Some(Sort::P99),
    Some(Sort::Wait),
    Some(Sort::Cpu),
    Some(Sort::Memory),
];
/// Together with the gaps between them 80 characters.
const WIDTHS: [u16; 10] = [14, 8, 7, 7, 6, 6, 6, 6, 5, 6];
/// Which go first where there is no room.
const DISPENSABLE: [usize; 7] = [5, 9, 8, 7, 4, 2, 6];

const KEYS: &str = "q leave  ↑↓ Enter workers and methods  nswceptumo sort  ? help";
const HELP: &str = "\
↑ ↓ PgUp PgDn Home End   choose a service, or scroll
Enter →                  its workers and methods
Esc ←                    back
n s w c e p t u m        sort by name, status, workers, calls, errors,
                         p99, waiting time, CPU, memory;
                         once more: the other way round
o                        in the order of the ini file
q ^C                     leave

Rates, p50, p99 and the time that calls waited are those of the
last three seconds; CPU 100 % is one processor kept busy.

Any key goes on.";

const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const TURNED: Style = Style::new().add_modifier(Modifier::REVERSED);

pub(super) fn draw(frame: &mut Frame<'_>, state: &mut State) {
    let parts = [Constraint::Length(3), Constraint::Min(0), Constraint::Length(1)];
    let [head, body, foot] = Layout::vertical(parts).areas(frame.area());
    frame.render_widget(Paragraph::new(title(state)), head);
    if state.is_helping {
        frame.render_widget(Paragraph::new(HELP), body);
        return;
    }
    let keys = if state.is_open { "q leave  ↑↓ scroll  Esc back  ? help" } else { KEYS };
    frame.render_widget(Paragraph::new(keys).style(Style::new().add_modifier(Modifier::DIM)), foot);
    if state.is_open {
        draw_service(frame, body, state);
    } else {
        draw_services(frame, body, state);
    }
}

fn title(state: &State) -> Text<'_> {
    let notice = state.notice.as_deref().unwrap_or_default();
    let notice = Line::styled(notice, BOLD.fg(Color::Red));
    let Some(frame) = &state.frame else { return Text::from(vec![Line::from("shmrpc top"), notice]) };
    let is_running = |row: &&ServiceRow| row.status == ServiceStatus::Running;
    let sum = |of: fn(&ServiceRow) -> f64| frame.services.iter().map(of).sum::<f64>();
    let first = format!(
        "{}  shmrpc-service {} on {}, pid {}, up {}",
        clock(frame.time_ms),
        frame.version,
        frame.host,
        frame.pid,
        units::span(frame.uptime_ms)
    );
    let second = format!(
        "{} of {} services run, {} workers, {} calls/s, {} errors/s, CPU {} of {} %",
        frame.services.iter().filter(is_running).count(),
        frame.services.len(),
        frame.services.iter().map(|row| row.workers_running).sum::<usize>(),
        rate(Some(sum(|row| row.calls.calls_per_s.unwrap_or_default()))),
        rate(Some(sum(|row| row.calls.errors_per_s.unwrap_or_default()))),
        (sum(|row| row.cpu_share) * 100.0).round(),
        frame.cpus * 100
    );
    Text::from(vec![Line::styled(first, BOLD), Line::from(second), notice])
}

fn draw_services(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let Some(shown) = &state.frame else { return };
    let columns = columns(area.width);
    let heading = columns.iter().map(|&column| {
        let style = if SORTS[column] == Some(state.sort) { TURNED } else { BOLD };
        aligned(column, HEADING[column].to_owned()).style(style)
    });
    let rows = shown.services.iter().map(|service| {
        let mut cells = cells(service);
        let row = Row::new(columns.iter().map(|&column| aligned(column, std::mem::take(&mut cells[column]))));
        row.style(style_of(service.status))
    });
    let widths = columns.iter().map(|&column| match column {
        0 => Constraint::Min(WIDTHS[0]),
        _ => Constraint::Length(WIDTHS[column]),
    });
    let table =
        Table::new(rows, widths).header(Row::new(heading)).row_highlight_style(TURNED).column_spacing(1);
    let mut cursor = TableState::default().with_selected(state.position());
    frame.render_stateful_widget(table, area, &mut cursor);
}

/// Those for which there is room.
fn columns(width: u16) -> Vec<usize> {
    let mut columns: Vec<usize> = (0..WIDTHS.len()).collect();
    let needed = |columns: &[usize]| columns.iter().map(|&column| WIDTHS[column] + 1).sum::<u16>() - 1;
    for column in DISPENSABLE {
        if needed(&columns) > width {
            columns.retain(|&other| other != column);
        }
    }
    columns
}

/// Words to the left, numbers to the right.
fn aligned(column: usize, cell: String) -> Text<'static> {
    if column < 2 { Text::from(cell) } else { Text::from(cell).right_aligned() }
}

fn style_of(status: ServiceStatus) -> Style {
    match status {
        ServiceStatus::Running => Style::new(),
        ServiceStatus::Backoff | ServiceStatus::Fatal => Style::new().fg(Color::Red),
        ServiceStatus::Starting | ServiceStatus::Stopping => Style::new().fg(Color::Yellow),
        ServiceStatus::Stopped | ServiceStatus::Exited => Style::new().add_modifier(Modifier::DIM),
    }
}

/// A service in the columns of [`HEADING`].
pub(super) fn cells(service: &ServiceRow) -> [String; 10] {
    let [calls, errors, p50, p99] = of_calls(&service.calls);
    [
        service.name.clone(),
        service.status.to_string(),
        format!("{}/{}", service.workers_running, service.max_workers),
        calls,
        errors,
        p50,
        p99,
        service.queue_wait_ns.map_or_else(|| NOTHING.into(), time),
        units::share(service.cpu_share),
        memory(service.memory_bytes),
    ]
}

fn of_calls(calls: &Calls) -> [String; 4] {
    let quantile = |value: Option<u64>| value.map_or_else(|| NOTHING.into(), time);
    [rate(calls.calls_per_s), rate(calls.errors_per_s), quantile(calls.p50_ns), quantile(calls.p99_ns)]
}

/// One service: its workers, then its methods.
fn draw_service(frame: &mut Frame<'_>, area: Rect, state: &mut State) {
    let Some(service) = state.service() else { return };
    let lines = service_lines(service);
    let room = usize::from(area.height);
    let scrolled = state.scrolled.min(lines.len().saturating_sub(room));
    state.scrolled = scrolled;
    let shown: Vec<Line<'_>> = lines.into_iter().skip(scrolled).take(room).collect();
    frame.render_widget(Paragraph::new(shown), area);
}

fn service_lines(service: &ServiceRow) -> Vec<Line<'static>> {
    let [calls, errors, p50, p99] = of_calls(&service.calls);
    let detail = service.status_detail.as_ref().map_or_else(String::new, |detail| format!(": {detail}"));
    let uptime = service.uptime_ms.map_or_else(|| NOTHING.into(), units::span);
    let mut lines = vec![
        Line::styled(
            format!("{} is {}{detail}", service.name, service.status),
            BOLD.patch(style_of(service.status)),
        ),
        Line::from(format!(
            "up {uptime}, {} restarts; {calls} calls/s, {errors} errors/s, p50 {p50}, p99 {p99}",
            service.restarts
        )),
        Line::from(""),
    ];
    let workers = service.workers.iter().map(|worker| {
        [
            worker.pid.to_string(),
            worker.state.name().to_owned(),
            rate(worker.calls_per_s),
            format::count(worker.calls),
            format::count(worker.errors),
            units::share(worker.cpu_share),
            memory(worker.memory_bytes),
            units::span(worker.uptime_ms),
        ]
    });
    let heading = ["WORKER", "STATE", "CALLS/S", "CALLS", "ERRORS", "CPU", "MEMORY", "UP"];
    lines.extend(section(heading, [10, 9, 8, 13, 8, 6, 7, 10], workers));
    lines.push(Line::from(""));
    let methods = service.methods.iter().map(|method| {
        let [calls, errors, p50, p99] = of_calls(&method.recent);
        let [all, failed] = [method.calls, method.errors].map(format::count);
        [method.name.clone(), calls, errors, p50, p99, all, failed]
    });
    let heading = ["METHOD", "CALLS/S", "ERR/S", "P50", "P99", "CALLS", "ERRORS"];
    lines.extend(section(heading, [22, 8, 7, 7, 7, 13, 9], methods));
    lines
}

/// A heading and rows of that many characters each; the first column is words.
fn section<const N: usize>(
    heading: [&str; N],
    widths: [usize; N],
    rows: impl Iterator<Item = [String; N]>,
) -> Vec<Line<'static>> {
    let line = |cells: [String; N]| {
        let cells = cells.into_iter().zip(widths).enumerate().map(|(column, (cell, width))| {
            if column == 0 { format!("{cell:<width$.width$}") } else { format!("{cell:>width$}") }
        });
        cells.collect::<Vec<_>>().join(" ")
    };
    let heading = Line::styled(line(heading.map(str::to_owned)), BOLD);
    std::iter::once(heading).chain(rows.map(|cells| Line::from(line(cells)))).collect()
}

#[cfg(test)]
mod tests {
    use ratatui::{
        Terminal,
        backend::TestBackend,
        crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
    };

    use super::{super::frame::tests::snapshot, *};

    fn screen(state: &mut State, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, state)).unwrap();
        let buffer = terminal.backend().buffer();
        let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
        (0..height).map(line).collect()
    }

    fn state() -> State {
        let mut state = State::default();
        state.hear(Ok(snapshot(1, 1000, 0)));
        state.hear(Ok(snapshot(1, 2000, 12_345)));
        state
    }

    #[test]
    fn eighty_by_twenty_four_have_everything() {
        let lines = screen(&mut state(), 80, 24);
        assert_eq!(lines[0], "00:16:42  shmrpc-service 0.1.0 on box, pid 1, up 2s");
        assert!(lines[1].starts_with("1 of 2 services run, 2 workers, 24,690 calls/s, "), "{lines:?}");
        assert_eq!(
            lines[3],
            "SERVICE        STATUS   WORKERS CALLS/S  ERR/S    P50    P99   WAIT   CPU MEMORY"
        );
        let row = "echo_serv      running      1/4  12,345  1,234 ";
        assert!(lines[4].starts_with(row) && lines[4].ends_with("   50%  4.00M"), "{lines:?}");
        assert!(lines[23].starts_with("q leave "), "{lines:?}");
    }

    #[test]
    fn every_size_is_drawn() {
        let mut state = state();
        for keys in [&[][..], &[KeyCode::Enter], &[KeyCode::Char('?')]] {
            for key in keys {
                state.press(KeyEvent::new(*key, KeyModifiers::NONE));
            }
            for (width, height) in [(1, 1), (10, 3), (40, 10), (79, 5), (300, 100)] {
                screen(&mut state, width, height);
            }
        }
    }

    #[test]
    fn columns_that_have_no_room_go() {
        let names =
            |width| columns(width).into_iter().map(|column| HEADING[column]).collect::<Vec<_>>().join(" ");
        assert_eq!(names(80), HEADING.join(" "));
        assert_eq!(names(70), "SERVICE STATUS WORKERS CALLS/S ERR/S P99 WAIT CPU");
        assert_eq!(names(30), "SERVICE STATUS CALLS/S");
    }

    #[test]
    fn a_service_shows_workers_and_methods_and_scrolls() {
        let mut state = state();
        state.press(KeyEvent::new(KeyCode::Enter, KeyModifiers::NONE));
        let lines = screen(&mut state, 80, 24);
        assert_eq!(lines[3], "echo_serv is running");
        assert!(
            lines[6].starts_with("WORKER ") && lines[7].starts_with("7 ") && lines[7].contains(" running "),
            "{lines:?}"
        );
        assert!(lines[9].starts_with("METHOD ") && lines[10].starts_with("echo "), "{lines:?}");
        for _ in 0..100 {
            state.press(KeyEvent::new(KeyCode::Down, KeyModifiers::NONE));
        }
        let lines = screen(&mut state, 80, 7);
        assert!(lines[5].starts_with("echo "), "the last line stays in sight: {lines:?}");
    }
}
