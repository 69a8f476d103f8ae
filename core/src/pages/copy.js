// Copies text, and says so on the button that was pressed. The clipboard wants a secure context; without one the old way serves.
async function copyText(text, button) {
  let done = true;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = document.createElement('textarea');
    area.value = text;
    area.className = 'sr';
    document.body.append(area);
    area.select();
    done = document.execCommand('copy');
    area.remove();
    button.focus();
  }
  const label = button.dataset.label ??= button.textContent;
  button.textContent = done ? 'Copied' : 'Could not copy';
  setTimeout(() => { button.textContent = label; }, 1500);
}

document.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-copy]');
  if (button) copyText(document.getElementById(button.dataset.copy).textContent, button);
});

