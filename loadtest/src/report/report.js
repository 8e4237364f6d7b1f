// Under the pointer, every plot says its values of that second. Left and right as in plot.rs.
const WIDTH = 760, LEFT = 70, RIGHT = 12, TOP = 10, BOTTOM = 212;
const figures = [...document.querySelectorAll("figure[data-seconds]")].map((figure) => {
    const at = document.createElementNS("http://www.w3.org/2000/svg", "path");
    at.setAttribute("class", "at");
    const svg = figure.querySelector("svg");
    svg.append(at);
    const keys = [...figure.querySelectorAll(".key")];
    return { svg, at, keys: keys.map((key) => ({ out: key.querySelector("output"), values: key.dataset.values.split(" ") })) };
});
const seconds = Number(document.querySelector("figure[data-seconds]")?.dataset.seconds ?? 0);
const show = (second) => {
    const x = LEFT + (second / Math.max(seconds - 1, 1)) * (WIDTH - LEFT - RIGHT);
    for (const { at, keys } of figures) {
        at.setAttribute("d", second === null ? "" : `M${x} ${TOP}V${BOTTOM}`);
        for (const { out, values } of keys) out.value = second === null ? "" : values[second] || "–";
    }
};
for (const { svg } of figures) {
    svg.addEventListener("pointermove", (event) => {
        const box = svg.getBoundingClientRect();
        const x = ((event.clientX - box.left) / box.width) * WIDTH;
        const share = Math.min(Math.max((x - LEFT) / (WIDTH - LEFT - RIGHT), 0), 1);
        show(Math.round(share * (seconds - 1)));
    });
    svg.addEventListener("pointerleave", () => show(null));
}
