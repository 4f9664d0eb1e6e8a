'use strict';

/** An element with children; a string becomes a text node, never markup. */
function element(tag, className, ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children.filter((child) => child !== undefined && child !== null));
  return made;
}

/** Where `#/components/schemas/Name` points to. */
function resolved(schema, api) {
  if (!schema || !schema.$ref) return schema;
  return schema.$ref.split('/').slice(1).reduce((place, step) => place[step], api);
}

function nameOf(schema) {
  if (!schema) return 'any';
  if (schema.$ref) return schema.$ref.split('/').pop();
  if (schema.oneOf) return schema.oneOf.map(nameOf).join(' or ');
  if (schema.enum) return schema.enum.join(' | ');
  const types = [].concat(schema.type ?? 'any');
  return types.map((type) => (type === 'array' ? `${nameOf(schema.items)}[]` : schema.format ? `${type} (${schema.format})` : type)).join(' or ');
}

function limitsOf(schema) {
  const names = ['minimum', 'maximum', 'minLength', 'maxLength', 'pattern'];
  return names.filter((name) => schema && name in schema).map((name) => `${name} ${schema[name]}`).join(', ');
}

function table(heads, rows) {
  const head = element('tr', '', ...heads.map((text) => element('th', '', text)));
  const body = rows.map((cells) => element('tr', '', ...cells.map((cell) => element('td', '', cell ?? ''))));
  return element('table', '', element('thead', '', head), element('tbody', '', ...body));
}

function parametersOf(operation) {
  if (!operation.parameters?.length) return [];
  const rows = operation.parameters.map((parameter) => [
    element('code', '', parameter.name),
    parameter.in,
    [nameOf(parameter.schema), limitsOf(parameter.schema)].filter(Boolean).join('; '),
    parameter.description,
  ]);
  return [element('h4', '', 'Parameters'), table(['name', 'in', 'type', 'meaning'], rows)];
}

function responsesOf(operation) {
  const rows = Object.entries(operation.responses).map(([status, response]) => {
    const contents = Object.entries(response.content ?? {}).map(([type, { schema }]) => (schema ? `${type}: ${nameOf(schema)}` : type));
    return [element('code', '', status), response.description, contents.join(', ')];
  });
  return [element('h4', '', 'Answers'), table(['status', 'meaning', 'content'], rows)];
}

function operationOf(method, path, operation) {
  const summary = element('summary', '', element('b', `method ${method}`, method.toUpperCase()), element('code', '', path),
    element('span', '', operation.summary ?? ''), operation.security ? element('i', '', 'key') : null);
  const more = operation.description ? [element('p', '', operation.description)] : [];
  return element('details', '', summary, ...more, ...parametersOf(operation), ...responsesOf(operation));
}

function schemaOf(name, api) {
  const schema = resolved({ $ref: `#/components/schemas/${name}` }, api);
  const rows = Object.entries(schema.properties ?? {}).map(([field, of]) => [
    element('code', '', field),
    nameOf(of),
    schema.required?.includes(field) ? 'always' : '',
    of.description,
  ]);
  const more = schema.description ? [element('p', '', schema.description)] : [];
  const body = rows.length ? table(['field', 'type', '', 'meaning'], rows) : element('p', '', nameOf(schema));
  return element('details', '', element('summary', '', element('code', '', name)), ...more, body);
}

async function show() {
  const about = document.getElementById('about');
  try {
    const answer = await fetch('openapi.json');
    if (!answer.ok) throw new Error(`openapi.json: ${answer.status}`);
    const api = await answer.json();
    const link = element('a', '', 'openapi.json');
    link.href = 'openapi.json';
    about.replaceChildren(`${api.info.description} Version ${api.info.version}, as `, link, '.');
    const sections = api.tags.map(({ name, description }) => {
      const operations = Object.entries(api.paths).flatMap(([path, methods]) =>
        Object.entries(methods)
          .filter(([, operation]) => operation.tags?.includes(name))
          .map(([method, operation]) => operationOf(method, path, operation)));
      return element('section', '', element('h2', '', name), element('p', '', description), ...operations);
    });
    const schemas = Object.keys(api.components.schemas).map((name) => schemaOf(name, api));
    sections.push(element('section', '', element('h2', '', 'shapes'), ...schemas));
    document.getElementById('operations').replaceChildren(...sections);
  } catch (error) {
    about.replaceChildren(`The description cannot be shown: ${error.message}`);
  }
}

show();
