"""The look of report.html: calm, readable on a phone and on paper, with nothing to fetch."""

STYLE = """
:root { color-scheme: light; --ink: #20262e; --quiet: #68707b; --line: #e3e6eb; --paper: #fff; --ground: #f4f5f7; }
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Inter, Roboto, sans-serif; font-variant-numeric: tabular-nums;
}
main { max-width: 1160px; margin: 0 auto; padding: 40px 24px 64px; }
h1 {
  max-width: 34em; margin: 4px 0 8px;
  font-size: clamp(22px, 3vw, 30px); line-height: 1.25; font-weight: 650; letter-spacing: -.01em; text-wrap: balance;
}
h2 { font-size: 18px; font-weight: 650; margin: 0 0 4px; }
h3 { font-size: 14px; font-weight: 650; margin: 20px 0 4px; }
p { margin: 0 0 12px; }
.eyebrow { margin: 0; font-size: 14px; color: var(--quiet); overflow-wrap: anywhere; }
.lead, .note { color: var(--quiet); }
.note { font-size: 14px; }
.notes {
  margin: 16px 0 0; padding: 10px 14px 10px 32px;
  background: #fff6e0; border: 1px solid #ecd9a6; border-radius: 8px;
}

section { margin-top: 20px; padding: 22px 24px; }
section, .cards div { background: var(--paper); border: 1px solid var(--line); border-radius: 12px; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(140px, 1fr)); gap: 12px; }
.cards { padding: 0; background: none; border: 0; }
.cards div { display: flex; flex-direction: column; padding: 12px 16px; }
.cards b { font-size: 25px; font-weight: 650; line-height: 1.3; }
.cards span, .cards small { font-size: 13px; color: var(--quiet); }

.legend { display: flex; flex-wrap: wrap; gap: 4px 20px; margin: 0; font-size: 14px; }
.legend svg { margin-right: 7px; vertical-align: -1px; }
.chart { padding: 54px 14px 42px 46px; }
.chart > svg { display: block; overflow: visible; }
.chart text { font-size: 12.5px; }
.flag { paint-order: stroke; stroke: #fff; stroke-width: 3px; }
.hover { fill: transparent; }
.hover:hover { fill: rgba(32, 38, 46, .07); }

.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(420px, 100%), 1fr)); gap: 16px; }
.pile { display: grid; gap: 16px; }
.pair, .pile { margin: 8px 0 16px; }
figure { margin: 0; padding: 10px; background: #fcfcfb; border: 1px solid var(--line); border-radius: 10px; }
figure svg { display: block; width: 100%; height: auto; max-height: 720px; }
figcaption { padding: 6px 6px 0; font-size: 14px; color: var(--quiet); }
.bar { display: block; font-size: 12.5px; background: var(--ground); border-radius: 5px; overflow: hidden; }

table { width: 100%; border-collapse: collapse; font-size: 14px; }
td, th { padding: 5px 12px 5px 0; border-top: 1px solid var(--line); text-align: left; vertical-align: top; }
thead th { border-top: 0; font-weight: 500; color: var(--quiet); }
i { display: inline-block; width: 12px; height: 12px; margin-right: 8px; border-radius: 3px; vertical-align: -1px; }
.phases { max-width: 640px; margin-top: 10px; }
.phases tr:first-child td { border-top: 0; }
.phases td:first-child { white-space: nowrap; }
.phases td:nth-child(2) { color: var(--quiet); }
.phases td:last-child, .numbers td, .numbers th { text-align: right; white-space: nowrap; }
.numbers { max-width: 480px; }
.settings td { overflow-wrap: anywhere; }
.settings td:first-child { width: 34%; color: var(--quiet); }

@media (max-width: 600px) {
  main { padding: 24px 12px 40px; }
  section { padding: 16px 14px; }
  .cards { grid-template-columns: 1fr 1fr; }
  .chart { padding-left: 38px; padding-right: 6px; }
  figure { padding: 4px; overflow-x: auto; }
  figure svg { min-width: 480px; }
  .settings td:first-child { width: 45%; }
}
@media print {
  body { background: none; font-size: 12px; }
  main { max-width: none; padding: 0; }
  section, .cards div, figure, .phases { break-inside: avoid; }
  .settings { break-inside: auto; }
  .pair { grid-template-columns: 1fr 1fr; }
  h2, h3 { break-after: avoid; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""
