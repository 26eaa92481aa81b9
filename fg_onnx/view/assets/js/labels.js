import { Sentence } from "./sentence.js";

/**
 * The class that a text names: a number, else the label that is the text, else the only label that
 * holds it; case is ignored, as on the command line.
 *
 * @param count of classes, or null where it is not known.
 * @throws Sentence for none, and for several.
 */
export function findLabel(text, labels, count) {
  const wanted = text.trim().toLowerCase();
  if (/^\d+$/.test(wanted)) {
    if (count !== null && Number(wanted) >= count) {
      throw new Sentence(`There is no class ${wanted}: the model has 0 to ${count - 1}.`);
    }
    return Number(wanted);
  }
  if (!wanted) throw new Sentence("Type the name or number of a class.");
  if (!labels) throw new Sentence("This page knows no labels: type the number of a class.");
  const folded = labels.map((label) => label.toLowerCase());
  const matching = (matches) => folded.flatMap((label, kind) => (matches(label) ? [kind] : []));
  const same = matching((label) => label === wanted);
  const near = same.length ? same : matching((label) => label.includes(wanted));
  if (near.length === 1) return near[0];
  if (!near.length) throw new Sentence(`No label matches “${text}”.`);
  const listed = near.slice(0, 8).map((kind) => `${labels[kind]} (${kind})`);
  const more = near.length - listed.length;
  throw new Sentence(
    `“${text}” matches ${near.length} labels: ${listed.join(", ")}${more ? `, and ${more} more` : ""}.`,
  );
}
