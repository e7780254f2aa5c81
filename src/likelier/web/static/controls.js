// Characters that a browser obeys or hides instead of showing them, as boxes with their code; markdown.py does the same.
const CONTROLS = /(\r(?!\n)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069])/;
const NAMES = {
  "061C": "ARABIC LETTER MARK", "200E": "LEFT-TO-RIGHT MARK", "200F": "RIGHT-TO-LEFT MARK",
  "202A": "LEFT-TO-RIGHT EMBEDDING", "202B": "RIGHT-TO-LEFT EMBEDDING", "202C": "POP DIRECTIONAL FORMATTING",
  "202D": "LEFT-TO-RIGHT OVERRIDE", "202E": "RIGHT-TO-LEFT OVERRIDE", "2066": "LEFT-TO-RIGHT ISOLATE",
  "2067": "RIGHT-TO-LEFT ISOLATE", "2068": "FIRST STRONG ISOLATE", "2069": "POP DIRECTIONAL ISOLATE",
};

function box(character) {
  const code = character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
  return Object.assign(document.createElement("span"), { className: "control", textContent: `U+${code}`, title: NAMES[code] ?? "CONTROL CHARACTER" });
}

// A text as nodes, each such character as its box.
export const visible = (content) => content.split(CONTROLS).map((part, place) => (place % 2 ? box(part) : part)).filter((part) => part !== "");
