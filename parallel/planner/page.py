"""The frames of a movie as one self-contained HTML page: step through it and watch circuits switch."""

import html
from collections.abc import Sequence
from string import Template

from parallel.fabric.faults import FaultPlan
from parallel.fabric.transceiver import SWITCH_SECONDS
from parallel.planner.movie import Frame


def page(shown: Sequence[Frame], plan: FaultPlan) -> str:
    """The frames as one HTML page without links to anything outside."""
    stages, stops = [], []
    for place, frame in enumerate(shown):
        commands = "".join(f"<li>{html.escape(command)}</li>" for command in frame.commands)
        hardware = SWITCH_SECONDS * bool(frame.seconds)
        time = (
            f"<p class='time'><b>{frame.seconds * 1e6:,.0f} µs</b> in all: {hardware * 1e6:,.0f} µs for the optics, "
            f"{(frame.seconds - hardware) * 1e6:,.0f} µs for the controller</p>"
            if frame.seconds
            else ""
        )
        stages.append(
            f"<section class='frame' id='frame{place}'><div class='picture'>{frame.svg}</div>"
            f"<div class='words'><p class='what'>{html.escape(frame.words)}</p>{time}<ol>{commands}</ol></div>"
            "</section>"
        )
        stops.append(
            f"<button class='stop {frame.kind}'><b>{html.escape(frame.when)}</b>"
            f"<span>{frame.kind}</span></button>"
        )
    return Template(PAGE).substitute(
        plan=html.escape(str(plan)), stages="".join(stages), stops="".join(stops)
    )


PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Circuits that switch</title>
<style>
  :root { --ink: #22262b; --quiet: #6a717b; --line: #e4e7eb; --paper: #fcfcfb; --blue: #2f6db3; --red: #b3372f;
          --gold: #a87400; }
  * { box-sizing: border-box; }
  body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, -apple-system,
         'Segoe UI', Inter, Roboto, sans-serif; font-variant-numeric: tabular-nums; }
  main { max-width: 1240px; margin: 0 auto; padding: 20px 28px 36px; }
  header { display: flex; gap: 16px; align-items: center; flex-wrap: wrap; margin-bottom: 14px; }
  h1 { font-size: 20px; margin: 0; font-weight: 650; }
  header code { color: var(--quiet); font-size: 13px; flex: 1; min-width: 240px; }
  .controls button { font: inherit; border: 1px solid var(--line); background: #fff; border-radius: 9px;
                     padding: 6px 14px; cursor: pointer; }
  .controls button:hover { border-color: var(--blue); color: var(--blue); }
  nav { display: flex; gap: 4px; overflow-x: auto; padding: 2px 0 10px; border-bottom: 1px solid var(--line); }
  .stop { flex: 1 0 68px; text-align: left; border: 0; border-top: 4px solid var(--line); background: none;
          padding: 6px 2px 2px; font: inherit; font-size: 12px; line-height: 1.3; color: var(--quiet);
          cursor: pointer; }
  .stop b { display: block; font-weight: 600; }
  .stop[aria-current] { color: var(--ink); border-top-color: var(--blue); }
  .stop.lost[aria-current] { border-top-color: var(--red); }
  .stop.switch[aria-current] { border-top-color: var(--gold); }
  .frame { display: none; grid-template-columns: minmax(0, 1fr) 250px; gap: 20px; align-items: start; }
  .frame.now { display: grid; animation: appear .25s ease-out; }
  @keyframes appear { from { opacity: .35; } }
  .picture svg { width: 100%; height: auto; max-height: calc(100vh - 150px); display: block; }
  .words { padding-top: 46px; }
  .what { margin: 0 0 10px; }
  .time { margin: 0 0 10px; color: var(--quiet); font-size: 13px; }
  .time b { color: var(--gold); font-size: 17px; }
  ol { margin: 0; padding: 0; list-style: none; font-size: 13px; max-height: 52vh; overflow-y: auto; }
  li { padding: 3px 0; border-bottom: 1px solid var(--line); }
  @media (max-width: 820px) { .frame { grid-template-columns: 1fr; } .words { padding-top: 0; } }
</style>
</head>
<body>
<main>
<header>
  <h1>Circuits that switch</h1>
  <code>$plan</code>
  <div class="controls">
    <button id="back" title="left arrow">&#9664;&#xFE0E; back</button>
    <button id="play" title="space">play</button>
    <button id="next" title="right arrow">next &#9654;&#xFE0E;</button>
  </div>
</header>
<nav aria-label="moments">$stops</nav>
$stages
</main>
<script>
  const frames = [...document.querySelectorAll('.frame')], stops = [...document.querySelectorAll('.stop')];
  const play = document.getElementById('play');
  let now = 0, timer = null;
  function show(place) {
    now = Math.max(0, Math.min(frames.length - 1, place));
    frames.forEach((frame, i) => frame.classList.toggle('now', i === now));
    stops.forEach((stop, i) => i === now ? stop.setAttribute('aria-current', 'step')
                                         : stop.removeAttribute('aria-current'));
    stops[now].scrollIntoView({ block: 'nearest', inline: 'nearest' });
    if (now === frames.length - 1) halt();
  }
  function halt() { clearInterval(timer); timer = null; play.textContent = 'play'; }
  function toggle() {
    if (timer) return halt();
    if (now === frames.length - 1) show(0);
    timer = setInterval(() => show(now + 1), 1600);
    play.textContent = 'pause';
  }
  document.getElementById('back').onclick = () => { halt(); show(now - 1); };
  document.getElementById('next').onclick = () => { halt(); show(now + 1); };
  play.onclick = toggle;
  stops.forEach((stop, i) => { stop.onclick = () => { halt(); show(i); }; });
  document.addEventListener('keydown', event => {
    if (event.key === 'ArrowLeft') { halt(); show(now - 1); }
    else if (event.key === 'ArrowRight') { halt(); show(now + 1); }
    else if (event.key === ' ') { event.preventDefault(); toggle(); }
  });
  show(Number(location.hash.slice(1)) || 0);
</script>
</body>
</html>
"""
