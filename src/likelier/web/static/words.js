// The words of this page's language, and `say(key, values)`, which fills the places in braces.
const words = await (await fetch(`/static/${document.documentElement.lang}.json`)).json();
export const say = (key, values = {}) => words[key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
