"""The page's looks. Blue and orange differ for every kind of sight, and in grey; both stand out
at least 4.5 to 1 from the page, by day and by night.
"""

STYLE = """
:root {
  color-scheme: light dark;
  --page: #ffffff; --raised: #f4f6f8; --text: #1a1f26; --quiet: #55606e; --line: #d5dae1;
  --blue: #1f68ad; --orange: #b84a00;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --page: #14181d; --raised: #1e242b; --text: #e8ecf1; --quiet: #a3adba; --line: #39424d;
    --blue: #6fb4f3; --orange: #ffa45c;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 66rem; padding: 1rem; background: var(--page); color: var(--text);
  font: 16px/1.45 system-ui, sans-serif; font-variant-numeric: tabular-nums;
}
h1 { font-size: clamp(1.6rem, 5.5vw, 2.6rem); line-height: 1.15; margin: 0; }
h2 { font-size: 1.2rem; margin: 0 0 .5rem; }
p { margin: .3rem 0; }
.quiet, figcaption, .note { color: var(--quiet); font-size: .9rem; }
header { border-left: .5rem solid var(--blue); padding: .2rem 0 .2rem 1rem; }
header.partly, header.bad { border-color: var(--orange); }
header.open { border-left-style: dashed; }
.outcome { font-size: 1.15rem; }
.sign { font-weight: 700; margin-right: .4rem; color: var(--blue); }
.partly .sign, .bad .sign { color: var(--orange); }
.facts {
  display: grid; gap: .6rem; margin: 1rem 0;
  grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr));
}
.facts div { background: var(--raised); border-radius: .4rem; padding: .6rem .8rem; }
dt { color: var(--quiet); font-size: .9rem; }
dd { margin: 0; overflow-wrap: anywhere; }
.facts dd { font-size: 1.3rem; font-weight: 600; }
.facts .note { display: block; font-size: .85rem; font-weight: 400; }
.about { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin: 0; }
section { margin: 2rem 0; }
figure { margin: 0; }
.beside { display: grid; gap: 1rem; grid-template-columns: minmax(0, 1fr); }
@media (min-width: 44rem) { .beside { grid-template-columns: minmax(0, 1fr) 15rem; } }
.chart { display: block; overflow: visible; margin-left: 4rem; width: calc(100% - 6rem); }
.share { display: block; min-width: 4rem; }
svg text { fill: var(--quiet); font-size: 12px; }
.left { text-anchor: end; }
.below { text-anchor: middle; }
.grid { stroke: var(--line); }
.tick { stroke: var(--quiet); }
.bar, .completed { fill: var(--blue); }
.failed { fill: var(--orange); }
.mark { fill: none; stroke: var(--orange); stroke-width: 1.5; }
.key { display: inline-block; margin-right: 1rem; }
.key svg { vertical-align: -1px; margin-right: .35rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .95rem; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem 1rem .3rem 0; text-align: left; }
th, td { vertical-align: top; }
thead th { color: var(--quiet); font-size: .85rem; font-weight: 600; white-space: nowrap; }
tbody th { font-weight: 400; }
.words { overflow-wrap: anywhere; min-width: 10rem; }
td.number, th.number { text-align: right; white-space: nowrap; }
td.line { width: 40%; vertical-align: middle; }
@media (max-width: 30rem) {
  table { font-size: .85rem; }
  th, td { padding-right: .5rem; }
  .words { min-width: 7rem; }
  td:last-child.words { min-width: 5rem; }
}
@media print {
  body { max-width: none; padding: 0; font-size: 11pt; }
  .chart, .share, .key svg, .facts div, header { print-color-adjust: exact; }
  figure, tr, .facts div { break-inside: avoid; }
  h2 { break-after: avoid; }
  .scroll { overflow: visible; }
}
"""
