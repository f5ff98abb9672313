//! The page at `/docs` and the document behind it need nothing from outside.

use crate::app::TestApp;
use crate::client::{Call, Connection};

#[tokio::test]
async fn the_document_is_served_as_it_is_made() {
    let app = TestApp::start().await;
    let served = app.get("/openapi.json").await.json(200);
    assert_eq!(served, serde_json::to_value(membrane_http::document()).unwrap());
    app.stop().await;
}

/// What the page names by this attribute.
fn named<'t>(page: &'t str, attribute: &str) -> Vec<&'t str> {
    let start = format!("{attribute}=\"");
    page.split(&start).skip(1).filter_map(|rest| rest.split('"').next()).collect()
}

#[tokio::test]
async fn the_page_and_all_that_it_loads_come_from_the_server_itself() {
    let app = TestApp::start().await;
    let mut connection = Connection::open(app.addr).await;
    let redirect = connection.call(&Call::get("/docs")).await;
    assert!((300..400).contains(&redirect.status()), "{}", redirect.status());
    assert_eq!(redirect.header("location"), Some("/docs/"));
    let page = connection.call(&Call::get("/docs/")).await;
    assert_eq!(page.status(), 200);
    assert!(page.header("content-type").unwrap().starts_with("text/html"));
    let page = page.text();
    let loaded = [named(&page, "src"), named(&page, "href")].concat();
    assert!(loaded.len() >= 4, "{page}");
    for name in loaded {
        let name = name.strip_prefix("./").unwrap_or(name);
        assert!(!name.contains(':') && !name.starts_with('/'), "{name} is from outside");
        let asset = connection.call(&Call::get(format!("/docs/{name}"))).await;
        assert_eq!(asset.status(), 200, "{name}");
        if !asset.header("content-type").unwrap().starts_with("image/") {
            let text = asset.text();
            for outside in ["url(http", "url(\"http", "url(//", "@import"] {
                assert!(!text.contains(outside), "{name} loads something from outside");
            }
        }
    }
    drop(connection);
    app.stop().await;
}

#[tokio::test]
async fn the_page_reads_our_document_and_tells_nobody() {
    let app = TestApp::start().await;
    let script = app.get("/docs/swagger-initializer.js").await.text();
    let start = script.find("SwaggerUIBundle({").expect("the page is started") + "SwaggerUIBundle(".len();
    assert!(script.contains("\"url\": \"/openapi.json\""), "{script}");
    // Where nothing is set, the page sends the document's address to a validator on the net.
    assert!(script[start..].contains("\"validatorUrl\": \"none\""), "{script}");
    assert!(!script.contains("://"), "{script}");
    app.stop().await;
}
