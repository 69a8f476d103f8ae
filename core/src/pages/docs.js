// Where everything is guarded, the page was asked for with the API token in its address; what the page needs is guarded alike.
const token = new URLSearchParams(location.search).get('auth');
const query = token ? `?${new URLSearchParams({ auth: token })}` : '';

const style = document.createElement('link');
style.rel = 'stylesheet';
style.href = `/docs/swagger-ui.css${query}`;
document.head.prepend(style);

const script = document.createElement('script');
script.src = `/docs/swagger-ui-bundle.js${query}`;
script.onerror = () => { document.querySelector('.wait').textContent = 'This node does not give the files of this page.'; };
script.onload = () => {
  const ui = window.SwaggerUIBundle({
    url: `/openapi.json${query}`,
    dom_id: '#swagger-ui',
    // No badge: it would ask a server that is not this one.
    validatorUrl: null,
    deepLinking: true,
    docExpansion: 'list',
    defaultModelsExpandDepth: 0,
    displayRequestDuration: true,
    tryItOutEnabled: true,
    presets: [window.SwaggerUIBundle.presets.apis],
    onComplete: () => { if (token) ui.preauthorizeApiKey('apiToken', token); },
  });
};
document.head.append(script);
