// What the pages do beyond HTML: keys, live lists that wait while nobody looks, copying. No inline script anywhere.
"use strict";

const rows = () => [...document.querySelectorAll("[data-row]")];

function move(by) {
  const all = rows();
  if (!all.length) return;
  const at = all.indexOf(document.activeElement);
  const to = at < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(all.length - 1, Math.max(0, at + by));
  all[to].focus();
  all[to].scrollIntoView({ block: "nearest" });
}

function isTyping(target) {
  return target.matches("input:not([type=hidden]), select, textarea");
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  const typing = isTyping(event.target);
  if (event.key === "Escape") {
    if (typing || rows().includes(document.activeElement)) {
      document.activeElement.blur();
    } else {
      const back = document.querySelector("[data-back]");
      if (back) goBack(back);
    }
    return;
  }
  if (typing) return;
  if (event.key === "/") {
    const search = document.querySelector("[data-search]");
    if (search) {
      event.preventDefault();
      const fold = search.closest("details");
      if (fold) fold.open = true;
      search.focus();
      search.select();
    }
  } else if (event.key === "j") {
    move(1);
  } else if (event.key === "k") {
    move(-1);
  }
});

// Back to the list as it was, with its filters, where one came from there.
function goBack(link) {
  const from = document.referrer && new URL(document.referrer);
  if (from && from.origin === location.origin && from.pathname === new URL(link.href).pathname) history.back();
  else location.assign(link.href);
}

document.addEventListener("click", (event) => {
  const back = event.target.closest("[data-back]");
  if (back && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
    event.preventDefault();
    goBack(back);
  }
  const copy = event.target.closest("[data-copy]");
  if (copy) {
    const text = document.getElementById(copy.dataset.copy).textContent;
    navigator.clipboard.writeText(text).then(
      () => { copy.textContent = "Copied"; },
      () => { copy.textContent = "Select it and copy"; },
    );
  }
});

// On a phone the filters take a whole screen: they begin folded there, unless they are in use.
for (const fold of document.querySelectorAll("[data-fold]")) {
  const isUsed = [...fold.querySelectorAll("input:not([type=hidden]), select")].some((field) => field.value);
  if (innerWidth <= 760 && !isUsed) fold.open = false;
}

// A page that nobody looks at asks nothing; one in which somebody selects text is left alone.
document.addEventListener("htmx:beforeRequest", (event) => {
  const selected = !getSelection().isCollapsed;
  if (document.hidden || selected) event.preventDefault();
});
