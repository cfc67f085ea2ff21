// A film with its captions: phrases and times seek the player, playheads follow it, boxes show who is where.
"use strict";
(() => {
  function boxesAt(article, second) {
    if (!article || !article.dataset.boxes) return [];
    article.people ??= JSON.parse(article.dataset.boxes);
    return article.people.map((rows) => {
      let best = null;
      for (const row of rows) if (!best || Math.abs(row[0] - second) < Math.abs(best[0] - second)) best = row;
      return best && Math.abs(best[0] - second) < 0.2 ? best : null;
    });
  }

  function drawBoxes(svg, rows) {
    svg.replaceChildren(...rows.map((row, person) => {
      if (!row) return null;
      const box = document.createElementNS(svg.namespaceURI, "rect");
      const [, x, y, width, height] = row;
      for (const [key, value] of Object.entries({x, y, width, height})) box.setAttribute(key, value);
      if (person === 0) box.setAttribute("class", "captioned");
      return box;
    }).filter(Boolean));
  }

  // The letterbox around a film is no part of it: boxes lie over its picture alone.
  function placeOverlay(video, svg) {
    const share = Math.min(video.clientWidth / video.videoWidth, video.clientHeight / video.videoHeight) || 0;
    const width = video.videoWidth * share, height = video.videoHeight * share;
    Object.assign(svg.style, {
      width: `${width}px`, height: `${height}px`,
      left: `${(video.clientWidth - width) / 2}px`, top: `${(video.clientHeight - height) / 2}px`,
    });
  }

  function attach(root) {
    const video = root.querySelector("video");
    const articles = [...root.querySelectorAll("article")];
    const marks = [...root.querySelectorAll(".line-of-time a")];
    const overlay = root.querySelector(".player .boxes");
    let duration = Number(root.dataset.duration) || 0;

    function show() {
      const second = video.currentTime;
      root.style.setProperty("--at", duration ? (100 * second) / duration : 0);
      let current = null;
      articles.forEach((article, number) => {
        const start = Number(article.dataset.start), end = Number(article.dataset.end);
        const inside = second >= start - 0.05 && (second < end || (number === articles.length - 1 && second <= end + 0.5));
        article.classList.toggle("playing", inside);
        article.style.setProperty("--at", Math.min(100, Math.max(0, (100 * (second - start)) / Math.max(end - start, 1e-6))));
        if (inside && !current) current = article;
        if (marks[number]) inside ? marks[number].setAttribute("aria-current", "true") : marks[number].removeAttribute("aria-current");
      });
      if (overlay) {
        placeOverlay(video, overlay);
        drawBoxes(overlay, boxesAt(current, second));
      }
    }

    function follow() {
      show();
      if (!video.paused && !video.ended && root.isConnected) requestAnimationFrame(follow);
    }

    root.addEventListener("change", (event) => {
      const chosen = event.target.dataset.shows;
      if (!chosen) return;
      for (const part of event.target.closest("section").querySelectorAll(".who")) part.hidden = part.id !== chosen;
    });
    if (!video) return;
    video.addEventListener("play", follow);
    for (const kind of ["timeupdate", "seeked", "loadeddata"]) video.addEventListener(kind, show);
    video.addEventListener("error", () => {
      video.closest(".player").hidden = true;
      root.querySelector(".no-film").hidden = false;
    });
    new ResizeObserver(show).observe(video);
    root.addEventListener("click", (event) => {
      const link = event.target.closest("[data-seek]");
      if (!link || video.closest(".player").hidden) return;
      const target = link.getAttribute("href");
      if (link.closest(".player, .card, .caption, .strip")) event.preventDefault();
      video.currentTime = Number(link.dataset.seek);
      for (const card of root.querySelectorAll(".card.chosen")) card.classList.remove("chosen");
      const card = root.querySelector(`[id="${target.slice(1)}"]`);
      if (card && card.classList.contains("card")) card.classList.add("chosen");
    });
  }

  window.attachFilm = attach;
  for (const root of document.querySelectorAll(".film")) attach(root);
})();
