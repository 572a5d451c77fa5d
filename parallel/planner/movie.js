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
