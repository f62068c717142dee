"""How a report looks. No font or picture from elsewhere; it prints on paper too."""

STYLE = """
:root{color-scheme:light;--ink:#1d2330;--soft:#5c6675;--line:#dfe3ea;--paper:#fff;--back:#f4f5f8;--accent:#1f5fb0}
*{box-sizing:border-box}
body{margin:0;background:var(--back);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","DejaVu Sans",sans-serif}
main{max-width:1180px;margin:0 auto;padding:24px 20px 48px}
h1{font-size:26px;margin:0 0 4px}h2{font-size:19px;margin:0 0 10px}h3{font-size:14px;margin:0;font-weight:600}
p{margin:0 0 10px;max-width:90ch}header>p:first-of-type{color:var(--soft)}
section{background:var(--paper);border:1px solid var(--line);border-radius:8px;padding:18px 20px;margin:16px 0}
.notice{background:#eef2f8;border-left:4px solid var(--accent);padding:8px 12px;border-radius:4px;max-width:none}
.verdict{border-left-width:6px}.verdict p{margin:0}
.verdict.good{border-left-color:#2b7a3b;background:#eff8f1}.verdict.bad{border-left-color:#b3261e;background:#fdf0ee}
.verdict.plain{border-left-color:var(--soft)}
.warnings{border-left:6px solid #a87400;background:#fdf8e9}.warnings ul{margin:0;padding-left:20px}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:5px 12px;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
th:first-child{text-align:left}thead th{color:var(--soft);font-weight:600;font-size:13px}tbody th{font-weight:500}
.side{display:flex;flex-wrap:wrap;gap:18px 28px;align-items:flex-start}
.cards{display:flex;flex-wrap:wrap;gap:12px;flex:1}
.card{border:1px solid var(--line);border-radius:8px;padding:8px 14px;flex:1 1 140px;max-width:220px}
.card b{display:block;font-size:22px}.card span{display:block;color:var(--soft);font-size:13px;line-height:1.35}
.grid{width:100%}.shade{background:rgba(214,80,165,calc(var(--doubt)*.75))}
#hide{margin:0 6px 12px 0}#hide:checked~.slices .outlines{display:none}
.slices{display:grid;grid-template-columns:74px repeat(var(--columns),minmax(0,1fr));gap:6px;align-items:center}
.slices h3{text-align:center}.number{font-weight:600;font-size:16px;text-align:right;padding-right:8px}
.number em{font-size:12px;font-weight:400;color:var(--soft)}
.panel{display:block;width:100%;background:#101114;border-radius:4px}
.outlines path{fill:none;stroke-width:1.7px;vector-effect:non-scaling-stroke;stroke-linejoin:round}
.thin path{stroke-width:.9px;stroke:#fff;stroke-opacity:.75}.outlines .RV{stroke-dasharray:5 2}
.key{white-space:nowrap;margin-left:10px}.key:before{content:"";display:inline-block;width:22px;height:0;
border-top:3px solid var(--key);vertical-align:middle;margin-right:6px}.key.RV:before{border-top-style:dashed}
.scale{color:var(--soft);font-size:13px;max-width:none}
.scale i{display:inline-block;width:160px;height:11px;border-radius:2px;
vertical-align:middle;margin:0 4px}
.curves{display:grid;grid-template-columns:repeat(auto-fill,minmax(300px,1fr));gap:14px}
.curve{margin:0;border:1px solid var(--line);border-radius:6px;padding:8px 10px}
.curve figcaption{font-weight:600;font-size:13px;display:flex;justify-content:space-between;gap:8px}
.curve figcaption span{color:var(--soft);font-weight:400;white-space:nowrap}
.curve svg{display:block;width:100%;font-size:11px}.curve text{fill:var(--soft)}.axis{stroke:var(--line)}
.raw,.mean{fill:none;stroke:var(--accent);vector-effect:non-scaling-stroke}.raw{stroke-opacity:.35}
.mean{stroke-width:2px}.dot{fill:var(--accent)}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(260px,1fr));gap:18px 28px}
dl{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:2px 14px;margin:6px 0 0;font-size:14px}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}dd em{color:var(--accent)}
details{margin-top:14px}summary{cursor:pointer;font-weight:600;font-size:14px}
footer{color:var(--soft);font-size:13px;text-align:center}
@media(max-width:720px){.slices{grid-template-columns:44px repeat(var(--columns),minmax(130px,1fr));overflow-x:auto}
table{display:block;overflow-x:auto;max-width:100%}}
@media print{body{background:#fff}section{break-inside:avoid-page;border-color:#bbb}.slices{break-inside:auto}
#hide,label[for=hide]{display:none}*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""
