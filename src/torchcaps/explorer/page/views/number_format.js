/** Numbers as the page writes them. */

/** 0.1234 → "0.123"; a true minus sign. */
export function decimal(value, digits = 3) {
  if (!Number.isFinite(value)) return "–";
  const text = Math.abs(value).toFixed(digits);
  return value < 0 && Number(text) !== 0 ? `−${text}` : text;
}

/** As `decimal`, with a plus before positive numbers. */
export function signed(value, digits = 3) {
  const text = decimal(value, digits);
  return value > 0 && Number(text) !== 0 ? `+${text}` : text;
}

/** Small numbers keep their first digits: 0.00042 → "4.2e−4". */
export function small(value) {
  if (value === 0 || Math.abs(value) >= 0.001) return decimal(value, 4);
  return value.toExponential(1).replace("-", "−");
}
