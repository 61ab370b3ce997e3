// SPDX-License-Identifier: Apache-2.0
/**
 * How the HTML report looks: light and dark by the reader's own setting, on a screen from 400 px up and on
 * paper.
 */

/**
 * A colour for each class, light and dark: what may be lost is green, the file cache blue, processes violet,
 * the kernel warm or grey.
 */
const CLASS_COLOURS: Record<string, readonly [light: string, dark: string]> = {
  'clean-cache': ['#1f9d57', '#3ecf7f'],
  free: ['#b5e0c5', '#28563c'],
  'mapped-cache': ['#1d6fc2', '#5aa9f2'],
  'other-cache': ['#8dbbe8', '#3f6690'],
  'dirty-cache': ['#e08a00', '#ffb84d'],
  anon: ['#7140d8', '#a78bfa'],
  shmem: ['#c22fc0', '#ee8bea'],
  slab: ['#a4561a', '#cf8a52'],
  'page-table': ['#d52b2b', '#ff7f7f'],
  kernel: ['#64748b', '#8b9ab0'],
  offline: ['#cbd5e1', '#3a4657'],
  device: ['#1e293b', '#dbe4f0'],
};

const VARIABLES = {
  light:
    '--paper:#fbfcfe;--card:#fff;--ink:#131a24;--soft:#4b5768;--line:#d9e0ea;--mark:#0b5fc1;'
    + '--track:#edf1f7;--critical:#34435a;--expendable:#1f9d57;--estimate:#131a24;',
  dark:
    '--paper:#0e131b;--card:#161d28;--ink:#e7edf6;--soft:#a3b1c4;--line:#2b3646;--mark:#7db8ff;'
    + '--track:#222c3a;--critical:#9fb0c9;--expendable:#3ecf7f;--estimate:#fff;',
};

function variables(theme: 'light' | 'dark'): string {
  const index = theme === 'light' ? 0 : 1;
  return (
    VARIABLES[theme]
    + Object.entries(CLASS_COLOURS)
      .map(([name, pair]) => `--c-${name}:${pair[index]};`)
      .join('')
  );
}

export const STYLE = `
:root{color-scheme:light dark;${variables('light')}}
@media (prefers-color-scheme:dark){:root{${variables('dark')}}}
@media print{:root{color-scheme:light;${variables('light')}}}
*{box-sizing:border-box}
html{font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;background:var(--paper);
  color:var(--ink)}
body{margin:0 auto;max-width:72rem;padding:1.5rem 1.25rem 3rem}
h1{font-size:1.75rem;line-height:1.2;margin:0 0 .25rem;overflow-wrap:anywhere}
h2{font-size:1.15rem;margin:0 0 .25rem}
p{margin:.25rem 0 .75rem;max-width:48rem}
a{color:var(--mark)}
.soft{color:var(--soft)}
.lead{margin:0;color:var(--soft);overflow-wrap:anywhere}
.banner{border-left:4px solid var(--c-dirty-cache);background:var(--card);padding:.5rem .75rem;margin:1rem 0;
  max-width:none}
section{background:var(--card);border:1px solid var(--line);border-radius:.6rem;padding:1rem 1.1rem;
  margin:1rem 0}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(12.5rem,1fr));gap:.75rem;
  margin:1.25rem 0 1rem;padding:0;list-style:none}
.figures li{background:var(--card);border:1px solid var(--line);border-radius:.6rem;padding:.7rem .9rem}
.figures b{display:block;font-size:1.5rem;line-height:1.25;font-variant-numeric:tabular-nums}
.stack{display:flex;height:1.4rem;border-radius:.3rem;overflow:hidden;background:var(--track);
  margin:.5rem 0 .75rem}
.stack i{display:block;min-width:1px}
canvas{display:block;width:100%;border-radius:.3rem;background:var(--track);cursor:crosshair;
  touch-action:manipulation}
canvas:focus-visible,button:focus-visible,input:focus-visible,.scroll:focus-visible,summary:focus-visible{
  outline:3px solid var(--mark);outline-offset:2px}
#where{min-height:3rem;margin:.5rem 0 0;font-variant-numeric:tabular-nums}
#tip{position:absolute;pointer-events:none;z-index:2;background:var(--ink);color:var(--paper);
  border-radius:.35rem;padding:.3rem .55rem;font-size:.85rem;line-height:1.35;max-width:18rem;
  font-variant-numeric:tabular-nums}
#tip[hidden]{display:none}
.map{position:relative}
.legend{display:flex;flex-wrap:wrap;gap:.35rem;margin:.75rem 0 0;padding:0;list-style:none}
.legend button{font:inherit;font-size:.85rem;color:var(--ink);background:none;border:1px solid var(--line);
  border-radius:2rem;padding:.15rem .65rem .15rem .5rem;cursor:pointer;min-height:1.9rem}
.legend button[aria-pressed=true]{border-color:var(--mark);box-shadow:inset 0 0 0 1px var(--mark)}
.swatch{display:inline-block;width:.8em;height:.8em;border-radius:.2em;margin-right:.45em;
  vertical-align:-.05em;border:1px solid color-mix(in srgb,var(--ink) 35%,transparent)}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.93rem;font-variant-numeric:tabular-nums}
caption{text-align:left;color:var(--soft);padding:0 0 .35rem}
th,td{padding:.32rem .6rem;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap;
  vertical-align:middle}
th{font-weight:600}
thead th{color:var(--soft);font-size:.82rem;vertical-align:bottom;white-space:normal}
tbody th,th:first-child,td.text,th.text{text-align:left}
td.text{white-space:normal;overflow-wrap:anywhere;min-width:9rem}
tbody tr:last-child>*{border-bottom:0}
tr.chosen>th::after{content:" configured";font-weight:400;color:var(--mark);font-size:.82rem}
td.bar{width:42%;min-width:7.5rem;padding-left:0}
.bar div{display:flex;height:1.15rem;background:none;position:relative}
.bar i{display:block;height:100%}
.bar i:first-child{border-radius:.25rem 0 0 .25rem}
.bar .critical{background:var(--critical)}
.bar .expendable{background:var(--expendable)}
.bar .native{background:repeating-linear-gradient(135deg,var(--critical) 0 5px,
  color-mix(in srgb,var(--critical) 62%,var(--card)) 5px 10px)}
.bar .estimate{position:absolute;top:-.18rem;bottom:-.18rem;height:auto;width:3px;background:var(--estimate);
  border:solid var(--card);border-width:0 1px;box-sizing:content-box}
.key{display:flex;flex-wrap:wrap;gap:.3rem 1.2rem;font-size:.87rem;color:var(--soft);margin:.5rem 0 0}
form{display:flex;flex-wrap:wrap;gap:.6rem 1.2rem;margin:.25rem 0 1rem}
label{display:grid;gap:.15rem;font-size:.87rem;color:var(--soft)}
input{font:inherit;width:9rem;padding:.25rem .5rem;color:var(--ink);background:var(--paper);
  border:1px solid var(--soft);border-radius:.35rem}
input:invalid{border-color:var(--c-page-table);box-shadow:inset 0 0 0 1px var(--c-page-table)}
details{margin:.75rem 0 0}
summary{cursor:pointer;color:var(--mark);padding:.15rem 0}
code{font-family:ui-monospace,"DejaVu Sans Mono",monospace;font-size:.9em;overflow-wrap:anywhere}
footer{color:var(--soft);font-size:.87rem}
@media (max-width:40rem){
body{padding:1rem .75rem 2rem}section{padding:.8rem .75rem}h1{font-size:1.4rem}th,td{padding:.3rem .4rem}
table{font-size:.86rem}
td.bar{width:auto;min-width:5.5rem}td.text{min-width:6rem}}
th small{display:block;font-weight:400;color:var(--soft);white-space:normal;min-width:12rem}
@media (max-width:34rem){
table,caption,tbody,tr,tbody th,tbody td{display:block;text-align:left}thead{display:none}
tr{border-bottom:1px solid var(--line);padding:.35rem 0}tbody tr:last-child{border-bottom:0}
tbody th,tbody td,td.text{border:0;padding:.1rem 0;white-space:normal;overflow-wrap:anywhere;min-width:0}
td[data-label]:empty{display:none}td[data-label]::before{content:attr(data-label) ": ";color:var(--soft)}
td.bar{width:100%}}
@media print{
body{max-width:none;padding:0}section{break-inside:avoid;border:0;padding:.5rem 0}
form,.legend button[aria-pressed]{border:0}form,#where,summary{display:none}details>*{display:block}}
@media (prefers-reduced-motion:no-preference){.bar i{transition:width .2s}}
`;
