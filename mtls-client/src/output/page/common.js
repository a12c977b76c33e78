"use strict";

// The parts that the pages of `proxy` and `watch` share. All text is set by textContent, so text from
// peers is never markup.

const PAGE = 150;
const SVG = "http://www.w3.org/2000/svg";

const byId = (id) => document.getElementById(id);

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function icon(kind) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", "#i-" + kind);
  svg.append(use);
  return svg;
}

function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function split(target) {
  const colon = target.lastIndexOf(":");
  return [target.slice(0, colon), target.slice(colon)];
}

function live(className, text) {
  byId("live").className = className;
  put(byId("live").querySelector("b"), text);
}
