const prose = document.querySelector('.prose');

for (const heading of prose.querySelectorAll('h1[id], h2[id], h3[id], h4[id]')) {
  const link = document.createElement('a');
  link.className = 'anchor';
  link.href = `#${heading.id}`;
  link.textContent = '#';
  link.setAttribute('aria-label', `Link to “${heading.textContent}”`);
  heading.append(link);
}

prose.querySelectorAll('pre').forEach((block, n) => {
  block.id = `block-${n + 1}`;
  const holder = document.createElement('div');
  holder.className = 'holder';
  const button = document.createElement('button');
  button.type = 'button';
  button.className = 'copy';
  button.dataset.copy = block.id;
  button.textContent = 'Copy';
  block.replaceWith(holder);
  holder.append(block, button);
});

// Marks the section that is being read.
const links = new Map([...document.querySelectorAll('.contents a')].map((link) => [link.hash.slice(1), link]));
const watch = new IntersectionObserver((seen) => {
  const top = seen.find((entry) => entry.isIntersecting);
  if (!top) return;
  for (const link of links.values()) link.removeAttribute('aria-current');
  links.get(top.target.id)?.setAttribute('aria-current', 'true');
}, { rootMargin: '-80px 0px -70% 0px' });
for (const heading of prose.querySelectorAll('h2[id]')) watch.observe(heading);
