// Texts whose contrast with what lies behind them is below 4.5 to 1 (WCAG 2 AA); those of disabled controls are exempt.
// So are icons beside their words, and a slider's values, which stand above the knob that they are inside of.
() => {
  const EXEMPT = ':disabled, [data-testid=stIconMaterial], [data-testid=stSliderThumbValue]';
  const numbers = colour => { const found = colour.match(/[\d.]+/g).map(Number); return found.length < 4 ? [...found, 1] : found; };
  const over = (top, below) => [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
  const luminance = colour => {
    const [r, g, b] = colour.slice(0, 3).map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = element => {
    const layers = [];
    for (let one = element; one; one = one.parentElement) layers.push(numbers(getComputedStyle(one).backgroundColor));
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255, 1]);
  };
  const weak = [];
  for (const element of document.querySelectorAll('[data-testid=stApp] *')) {
    const own = [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.offsetParent || element.closest(EXEMPT)) continue;
    const back = behind(element);
    const [a, b] = [luminance(over(numbers(getComputedStyle(element).color), back)), luminance(back)];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5 && numbers(getComputedStyle(element).color)[3] > 0) weak.push(`${element.textContent.trim().slice(0, 40)}: ${contrast.toFixed(2)}`);
  }
  return weak;
}
