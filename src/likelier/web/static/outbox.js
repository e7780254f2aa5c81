// Answers that the server has not acknowledged yet, on the browser's disk: they outlive a closed tab and an hour offline.
const { person } = document.body.dataset;
const opened = new Promise((resolve, reject) => {
  const request = indexedDB.open("likelier", 1);
  request.onupgradeneeded = () => request.result.createObjectStore("answers", { keyPath: "number", autoIncrement: true });
  request.onsuccess = () => resolve(request.result);
  request.onerror = () => reject(request.error);
});

async function change(work) {
  const transaction = (await opened).transaction("answers", "readwrite", { durability: "strict" });
  const result = work(transaction.objectStore("answers"));
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve(result.result);
    transaction.onerror = transaction.onabort = () => reject(transaction.error);
  });
}

export const keep = (answer, about, path, asked) => change((store) => store.add({ answer, about, path, asked, person }));
export const forget = (number) => change((store) => store.delete(number));
// Another person's, on a shared computer, wait until that person is back.
export const waiting = async () => (await change((store) => store.getAll())).filter(({ person: whose = person }) => whose === person);
