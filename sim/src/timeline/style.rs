//! Colours, for light and for dark, and the pattern of faults.

/// Colours of epochs, in turn. Red is kept for what is wrong, orange for faults.
pub(super) const EPOCH_COLOURS: u64 = 6;

/// Everything in light colours, then what is different in the dark.
pub(super) const STYLE: &str = "<style>
text{font-family:system-ui,'Segoe UI','DejaVu Sans',sans-serif;font-size:11px;fill:#1c2330}
.back{fill:#fff}
.lane{fill:#f6f7f9}
.title{font-size:17px;font-weight:600}
.name{font-size:13px;font-weight:600}
.small{font-size:10px;fill:#667085}
.row{font-size:10px;fill:#667085;text-anchor:end}
.tick{font-size:10px;fill:#667085;text-anchor:middle}
.label{stroke:#fafbfc;stroke-width:3;stroke-linejoin:round;paint-order:stroke}
.inbar{fill:#fff;font-weight:600}
.grid{stroke:#e3e6eb;stroke-width:1}
.rule{stroke:#cdd2da;stroke-width:1}
.moment{stroke:#8a94a3;stroke-width:1;stroke-dasharray:3 3}
.stem{stroke:#b3bac5;stroke-width:1}
.e0{fill:#2f6db5}.e1{fill:#0f8577}.e2{fill:#7a52b3}.e3{fill:#8a6d00}.e4{fill:#4a7d23}.e5{fill:#56657a}
.primary{fill:#2b3445}
.standby{fill:#c3cad5}
.steady{fill:#b9d8c2}
.fault{fill:url(#hatch);stroke:#c2530a;stroke-width:1}
.hatchback{fill:#fff3e8}
.hatchline{stroke:#eba36b;stroke-width:2}
.gap{fill:#ffdf9e;stroke:#b97f00;stroke-width:1}
.over{fill:#fff;fill-opacity:.86}
.promote{fill:#0b7a3e}
.fence{fill:none;stroke:#8a1c7c;stroke-width:2.6}
.stop{fill:#1c2330}
.order{fill:#c2530a}
.other{fill:#8a94a3}
.wrong{fill:#d11a2a}
.wrongline{stroke:#d11a2a;stroke-width:2;stroke-opacity:.75}
.wrongtext{fill:#c01525;font-weight:600}
.ok{fill:#0b7a3e}
.waits{fill:#a35a00;font-weight:600}
@media (prefers-color-scheme:dark){
text{fill:#e4e8ef}
.back{fill:#12161d}
.lane{fill:#191f28}
.small,.row,.tick{fill:#97a1b1}
.grid{stroke:#262e3a}
.rule{stroke:#3a4453}
.moment,.stem{stroke:#5c6878}
.inbar{fill:#fff}
.primary{fill:#d5dbe6}
.standby{fill:#465162}
.steady{fill:#2c5a3d}
.fault{stroke:#f08a3c}
.gap{fill:#6b4a00;stroke:#d9a441}
.label{stroke:#161b23}
.hatchback{fill:#33210f}
.hatchline{stroke:#8a4d1c}
.over{fill:#12161d}
.promote,.ok{fill:#3fcf83}
.fence{stroke:#e07bd2}
.stop{fill:#e4e8ef}
.order{fill:#f08a3c}
.wrong{fill:#ff5566}
.wrongline{stroke:#ff5566}
.wrongtext{fill:#ff7a87}
.waits{fill:#f0b050}
}
</style>
";

/// The hatching of faults.
pub(super) const DEFINITIONS: &str = "<defs><pattern id=\"hatch\" width=\"7\" height=\"7\" \
     patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\"><rect class=\"hatchback\" \
     width=\"7\" height=\"7\"/><line class=\"hatchline\" x1=\"0\" y1=\"0\" x2=\"0\" y2=\"7\"/>\
     </pattern></defs>\n";

/// The style of the page around the picture.
pub(super) const PAGE: &str = "<style>
body{margin:16px;background:#fff;color:#1c2330;font:13px/1.45 system-ui,'Segoe UI','DejaVu Sans',sans-serif}
.picture{overflow-x:auto}
svg{display:block}
h2{font-size:15px;margin:20px 0 6px}
table{border-collapse:collapse}
td{padding:1px 12px 1px 0;vertical-align:top}
td:first-child{text-align:right;font-variant-numeric:tabular-nums;color:#667085}
tr.bad td{color:#c01525;font-weight:600}
tr.struck td:last-child{color:#a8480a}
tr.lease td:last-child{color:#2f6db5}
@media (prefers-color-scheme:dark){
body{background:#12161d;color:#e4e8ef}
td:first-child{color:#97a1b1}
tr.bad td{color:#ff7a87}
tr.struck td:last-child{color:#f08a3c}
tr.lease td:last-child{color:#7fb2ee}
}
</style>
";
