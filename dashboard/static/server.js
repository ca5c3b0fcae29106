// Asking the server: with the caller's token where it wants one, which is asked for once and kept until the tab is closed.

const KEPT = "tocsin-token";
let asking = null;

const token = () => sessionStorage.getItem(KEPT);

// fetch, with the token. Where the server refuses it (401), somebody is asked for another one, and it is tried again.
export async function ask(url, options = {}) {
  for (;;) {
    const sent = token();
    const headers = { ...options.headers, ...(sent ? { authorization: `Bearer ${sent}` } : {}) };
    const answer = await fetch(url, { ...options, headers });
    if (answer.status !== 401) return answer;
    if (token() === sent) await (asking ??= askForToken(Boolean(sent)).finally(() => { asking = null; }));
  }
}

export async function json(url) {
  const answer = await ask(url);
  if (!answer.ok) throw new Error(`${url} answered ${answer.status}: ${(await answer.text()).slice(0, 300)}`);
  return answer.json();
}

// An image; an <img> of its own could not send the token.
export function picture(url, alt) {
  const image = document.createElement("img");
  image.className = "frame";
  image.alt = alt;
  ask(url).then(answer => (answer.ok ? answer.blob() : Promise.reject(new Error(String(answer.status))))).then(
    blob => { image.src = URL.createObjectURL(blob); image.onload = () => URL.revokeObjectURL(image.src); },
    error => { image.alt = `${alt}: not shown (${error.message})`; });
  return image;
}

function askForToken(refused) {
  const dialog = document.getElementById("token");
  dialog.querySelector("p").textContent = refused
    ? "That token is not known, has expired, or was revoked." : "This Tocsin answers with a token only.";
  const field = dialog.querySelector("input");
  field.value = "";
  return new Promise(done => {
    dialog.oncancel = event => event.preventDefault();
    dialog.querySelector("form").onsubmit = event => {
      event.preventDefault();
      sessionStorage.setItem(KEPT, field.value.trim());
      dialog.close();
      done();
    };
    dialog.showModal();
  });
}
