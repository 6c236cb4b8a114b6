// The controls of a form: their texts to JSON values and back.

const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

/** Each control of a form, and each group of them that can be switched off. */
export class Fields {
  constructor(form) {
    this.fields = [...form.querySelectorAll("[data-pointer]")].map((element) => ({
      element,
      pointer: element.dataset.pointer,
      control: element.querySelector("input, select, textarea"),
    }));
    this.groups = [...form.querySelectorAll("[data-group]")].map((element) => ({
      element,
      pointer: element.dataset.group,
      control: element.querySelector(":scope > legend input"),
    }));
    for (const { control } of this.groups) control?.addEventListener("change", () => this.fold());
  }

  /** Groups that are off take no part and are not reached by keyboard. */
  fold() {
    for (const { element, control } of this.groups) {
      if (control) element.querySelector(":scope > .inside").hidden = !control.checked;
    }
  }

  /** Calls `visit` for each value; those in a group that is off are null with it. */
  read(visit) {
    const off = this.groups.filter(({ control }) => control && !control.checked);
    const isOff = (pointer) => off.some((group) => pointer.startsWith(`${group.pointer}/`));
    for (const group of off) if (!isOff(group.pointer)) visit(group.pointer, null);
    for (const field of this.fields) if (!isOff(field.pointer)) visit(field.pointer, readField(field));
  }

  /** Shows values; where `find` has none, as in a group that is off, what the schema begins with. */
  write(find) {
    for (const { pointer, control } of this.groups) {
      if (control) control.checked = find(pointer) != null;
    }
    for (const field of this.fields) {
      const value = find(field.pointer);
      writeField(field, value === undefined ? JSON.parse(field.element.dataset.default) : value);
    }
    this.fold();
  }

  /** Puts what is wrong beside the nearest place of each error; answers those that have none. */
  mark(errors) {
    for (const { element, control } of [...this.fields, ...this.groups]) mark(element, control, "");
    return errors.filter(({ pointer, detail }) => {
      const place = this.#nearest(pointer);
      if (place) mark(place.element, place.control, detail);
      return !place;
    });
  }

  #nearest(pointer) {
    const places = [...this.fields, ...this.groups];
    for (let at = pointer; at; at = at.slice(0, at.lastIndexOf("/"))) {
      const found = places.find((place) => place.pointer === at);
      if (found) return found;
    }
    return null;
  }
}

function mark(element, control, text) {
  const place = element.querySelector(":scope > .error");
  place.textContent = text;
  place.hidden = text === "";
  if (text) control?.setAttribute("aria-invalid", "true");
  else control?.removeAttribute("aria-invalid");
}

/** A control's value; text that does not fit goes out as it is, so that the server can say so. */
function readField({ element, control }) {
  const text = control.type === "checkbox" ? "" : control.value.trim();
  switch (element.dataset.control) {
    case "flag":
      return control.checked;
    case "list":
      return readList(text, element.dataset);
    case "json":
      return text === "" ? null : parseOr(text);
    case "integer":
    case "number":
      return text === "" ? null : readNumber(text);
    case "choice":
      return text === "" ? null : element.dataset.type === "string" ? text : parseOr(text);
    default:
      return text === "" && "nullable" in element.dataset ? null : text;
  }
}

function readNumber(text) {
  return NUMBER.test(text) ? Number(text) : text;
}

function readList(text, { type, nullable }) {
  if (text === "") return nullable === undefined ? [] : null;
  const items = text.split(",").map((part) => part.trim()).filter((part) => part !== "");
  if (type === "string") return items;
  return items.map((part) => (type === "boolean" ? parseOr(part) : readNumber(part)));
}

function parseOr(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function writeField({ element, control }, value) {
  const kind = element.dataset.control;
  if (kind === "flag") control.checked = value === true;
  else if (value === null || value === undefined) control.value = "";
  else if (kind === "list" && Array.isArray(value)) control.value = value.join(", ");
  else if (kind === "json" || typeof value === "object") control.value = JSON.stringify(value, null, 1);
  else control.value = String(value);
}
