// The web app: gives a video to the server, shows its progress, then the film with its captions.
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const films = new Map(); // by job: the address of a film that this page holds itself
  const history = []; // {id, name, text}
  let current = null; // {id, source, request}
  const SAVED = "captioner-history";

  async function api(path, options) {
    const answer = await fetch(path, options);
    if (answer.ok) return answer;
    const told = await answer.json().catch(() => ({}));
    throw new Error(told.error || `the server answers ${answer.status}`);
  }

  function showFault(text) {
    byId("fault").textContent = text;
    byId("fault").hidden = !text;
  }

  function showWork(text, share) {
    byId("work").hidden = !text;
    byId("stage").textContent = text || "";
    if (share === null || share === undefined) byId("progress").removeAttribute("value");
    else byId("progress").value = share;
  }

  function options() {
    return {style: byId("style").value, people: byId("people").value, window: byId("window").value, wait: "false"};
  }

  // XMLHttpRequest, since fetch tells nothing of an upload's progress.
  function upload(file, name) {
    const form = new FormData();
    for (const [key, value] of Object.entries(options())) form.append(key, value);
    form.append("file", file, name);
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      current = {request};
      request.open("POST", "/v1/captions");
      request.upload.onprogress = (event) =>
        showWork(`Sending ${name}`, event.lengthComputable ? event.loaded / event.total : null);
      request.onerror = () => reject(new Error("the upload was broken off: the file may be too large, or the server was stopped"));
      request.onabort = () => reject(new Error(""));
      request.onload = () => {
        let told = {};
        try { told = JSON.parse(request.responseText); } catch { /* told below */ }
        if (request.status < 300) resolve(told);
        else reject(new Error(told.error || `the server answers ${request.status}`));
      };
      request.send(form);
    });
  }

  async function ask(body) {
    const sent = {...options(), ...body};
    const answer = await api("/v1/captions", {
      method: "POST", headers: {"content-type": "application/json"}, body: JSON.stringify(sent),
    });
    return answer.json();
  }

  async function caption(name, start, file) {
    stop();
    showFault("");
    byId("result").hidden = true;
    showWork(`Sending ${name}`, null);
    try {
      const job = await start();
      if (file) films.set(job.id, URL.createObjectURL(file));
      watch(job);
    } catch (error) {
      current = null;
      showWork("");
      showFault(error.message);
    }
  }

  function watch(job) {
    const source = new EventSource(`/v1/captions/${job.id}/events`);
    current = {id: job.id, source};
    source.onmessage = (event) => {
      const told = JSON.parse(event.data);
      if (told.status === "queued") showWork(told.before ? `Waiting: ${told.before} before you` : "Waiting", null);
      else if (told.status === "running" && told.second) showWork(`Captioned ${told.second.toFixed(0)} of ${told.duration.toFixed(0)} s`, told.second / told.duration);
      else if (told.status === "running") showWork("Watching the video and writing", null);
      else {
        source.close();
        current = null;
        showWork("");
        if (told.status === "done") finished(told);
        else showFault(told.error || "Cancelled");
      }
    };
    source.onerror = () => {
      if (source.readyState !== EventSource.CLOSED) return;
      current = null;
      showWork("");
      showFault("The server cannot be reached any more.");
    };
  }

  function finished(told) {
    history.unshift({id: told.id, name: told.name, text: told.text});
    sessionStorage.setItem(SAVED, JSON.stringify(history.slice(0, 50)));
    showHistory();
    open(told.id).catch((error) => showFault(error.message));
  }

  async function open(id) {
    const [told, page] = await Promise.all([
      api(`/v1/captions/${id}`).then((answer) => answer.json()),
      api(`/v1/captions/${id}/page`).then((answer) => answer.text()),
    ]);
    const place = byId("film");
    place.innerHTML = page; // written and escaped by the server; the policy of this page lets no script in
    const root = place.querySelector(".film"), video = root.querySelector("video");
    if (video && !video.getAttribute("src")) {
      if (films.has(id)) video.src = films.get(id);
      else root.querySelector(".player").hidden = true;
    }
    window.attachFilm(root);
    byId("downloads").replaceChildren("Download: ", ...told.formats.map((format) => {
      const link = document.createElement("a");
      link.href = `/v1/captions/${id}/files/${format}`;
      link.download = "";
      link.textContent = format;
      return link;
    }));
    byId("result").hidden = false;
    byId("result").focus({preventScroll: true});
    byId("result").scrollIntoView({block: "start"});
  }

  function showHistory() {
    byId("history").hidden = !history.length;
    byId("history").querySelector("ol").replaceChildren(...history.map(({id, name, text}) => {
      const item = document.createElement("li"), button = document.createElement("button");
      const about = document.createElement("span");
      about.className = "time";
      about.textContent = ` ${name}`;
      button.type = "button";
      button.append(text, about);
      button.onclick = () => open(id).then(() => showFault(""), (error) => showFault(error.message));
      item.append(button);
      return item;
    }));
  }

  function stop() {
    if (!current) return;
    if (current.request) current.request.abort();
    if (current.source) current.source.close();
    if (current.id) fetch(`/v1/captions/${current.id}`, {method: "DELETE", keepalive: true}).catch(() => {});
    current = null;
    showWork("");
  }

  function give(file) {
    if (file) caption(file.name, () => upload(file, file.name), file);
  }

  async function begin() {
    const models = await (await api("/v1/models")).json();
    const known = await (await api("/v1/examples")).json();
    const names = {plain: "whole sentences", faces: "what faces do", feelings: "what is felt"};
    byId("style").replaceChildren(...models.data[0].styles.map((style) => new Option(names[style] || style, style)));
    byId("style").parentElement.hidden = models.data[0].styles.length < 2;
    byId("address-form").hidden = !known.addresses;
    byId("examples-line").hidden = !known.examples.length;
    byId("examples").replaceChildren(...known.examples.map((name) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = name.replace(/\.\w+$/, "");
      button.onclick = () => caption(name, () => ask({example: name}));
      return button;
    }));
  }

  byId("file").onchange = (event) => { give(event.target.files[0]); event.target.value = ""; };
  byId("cancel").onclick = () => { stop(); showFault("Cancelled"); };
  byId("address-form").onsubmit = (event) => {
    event.preventDefault();
    const address = byId("address").value.trim();
    caption(address, () => ask({address}));
  };
  const drop = byId("drop");
  for (const kind of ["dragenter", "dragover"]) {
    document.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over"); });
  }
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) drop.classList.remove("over"); });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    give(event.dataTransfer.files[0]);
  });
  addEventListener("pagehide", stop);

  // -- the camera --
  const recorder = byId("recorder"), seen = recorder.querySelector("video");
  let camera = null, recording = null;

  async function openCamera() {
    showFault("");
    if (!navigator.mediaDevices || !window.MediaRecorder) {
      showFault("This browser gives no camera here: open the app at http://127.0.0.1, or choose a file.");
      return;
    }
    try {
      camera = await navigator.mediaDevices.getUserMedia({video: {width: {ideal: 1280}}, audio: false});
    } catch (error) {
      showFault(error.name === "NotAllowedError"
        ? "The camera was not allowed: allow it in the browser, or choose a file."
        : "No camera was found: connect one, or choose a file.");
      return;
    }
    seen.srcObject = camera;
    seen.play();
    byId("record").textContent = "Start";
    byId("recorder-told").textContent = "Up to 30 seconds.";
    recorder.showModal();
  }

  function record() {
    if (recording) return recording.stop();
    const pieces = [];
    recording = new MediaRecorder(camera);
    recording.ondataavailable = (event) => pieces.push(event.data);
    recording.onstop = () => {
      const kind = recording.mimeType || "video/webm";
      recording = null;
      recorder.close();
      const name = kind.includes("mp4") ? "camera.mp4" : "camera.webm";
      give(new File(pieces, name, {type: kind}));
    };
    recording.start();
    const own = recording;
    setTimeout(() => { if (own === recording) own.stop(); }, 30000);
    byId("record").textContent = "Stop and caption";
    byId("recorder-told").textContent = "Recording";
  }

  byId("camera").onclick = openCamera;
  byId("record").onclick = record;
  byId("close-recorder").onclick = () => recorder.close();
  recorder.onclose = () => {
    if (recording) { recording.onstop = null; recording.stop(); recording = null; }
    if (camera) for (const track of camera.getTracks()) track.stop();
    camera = null;
    seen.srcObject = null;
  };

  try { history.push(...JSON.parse(sessionStorage.getItem(SAVED) || "[]")); } catch { /* begins anew */ }
  showHistory();
  begin().catch((error) => showFault(`The server cannot be reached: ${error.message}`));
})();
